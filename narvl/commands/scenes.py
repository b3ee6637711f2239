"""`narvl scenes`: writes a data set of rendered scenes for one task."""

from __future__ import annotations

import argparse
import re
import sys

from narvl.errors import UsageError

HELP = "write a data set of rendered scenes: images, language, truth and BPE"
TASK_NAMES = ("captioning", "vqa", "grounding", "entailment", "pretraining")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the data set; made if missing")
    parser.add_argument(
        "--task",
        choices=TASK_NAMES,
        default="captioning",
        help="which task's rows to write; pretraining: captions, questions and hypotheses together, in vqa's columns",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: 0)")
    parser.add_argument("--train", type=int, default=4000, metavar="N", help="training scenes (default: 4000)")
    parser.add_argument("--valid", type=int, default=200, metavar="N", help="validation scenes (default: 200)")
    parser.add_argument("--test", type=int, default=500, metavar="N", help="test scenes (default: 500)")
    parser.add_argument("--image-size", type=int, default=64, metavar="PX", help="side of the images (default: 64)")
    parser.add_argument(
        "--objects",
        default="2",
        metavar="LOW-HIGH",
        help="objects in a scene, a number or a range such as 2-3 (default: 2)",
    )


def run(args: argparse.Namespace) -> None:
    """Write the data set and tell what was written.

    Raises:
        UsageError: a flag's value cannot be used.
    """
    from narvl.scenes.write import Plan, write_scenes

    plan = Plan(args.task, args.seed, (args.train, args.valid, args.test), args.image_size, parse_range(args.objects))
    summary = write_scenes(plan, args.out)
    rows = ", ".join(f"{split} {count}" for split, count in summary.rows.items())
    lines = [
        f"{args.out}: {args.task}, {sum(plan.scenes)} scenes",
        f"rows: {rows}",
        f"vocabulary: {summary.vocabulary} tokens",
        f"targets with </s>: {summary.total_tokens / summary.targets:.1f} tokens on average, {summary.longest} at most",
        *("example: " + " | ".join(texts) for texts in summary.examples),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def parse_range(text: str) -> tuple[int, int]:
    """Read "2-3", or "2" for "2-2"."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text.strip())
    if not match:
        raise UsageError(f"--objects {text!r}: give a number or a range, such as 2 or 2-3")
    return int(match[1]), int(match[2] or match[1])
