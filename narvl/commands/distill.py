"""Turn an autoregressive teacher's texts into the student's training data, in three steps: rows, decode, targets.

Rows lists what the teacher is to decode; decode runs fairseq-generate on a part of it, and goes on where a killed run
has stopped (fairseq-generate OUT --gen-subset teacher --results-path OUT does the same in one go); targets checks that
every row came back once, and writes the training file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "make a student's training data from a teacher's texts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    rows = steps.add_parser("rows", help="first: write OUT/teacher.tsv for the teacher to decode")
    rows.add_argument("--data", required=True, metavar="DATA", help="data folder with train.tsv")
    rows.add_argument("--out", required=True, metavar="OUT", help="the student's data folder")
    rows.add_argument(
        "--task",
        choices=("captioning", "vqa"),
        default="captioning",
        help="captioning (default): one row an image; vqa: every row",
    )

    decode = steps.add_parser("decode", help="then: decode a shard of the rows")
    decode.add_argument("--out", required=True, metavar="OUT", help="the student's data folder, as in the first step")
    decode.add_argument("--shard-id", type=int, default=0, metavar="I", help="which shard, from 0 (default: 0)")
    decode.add_argument("--num-shards", type=int, default=1, metavar="K", help="parts of the rows (default: 1)")
    decode.add_argument(
        "flags",
        nargs="*",
        metavar="-- FLAG",
        help="behind two dashes, fairseq-generate's flags: --path CKPT --beam 5 ...",
    )

    targets = steps.add_parser("targets", help="last: write OUT/train.tsv with the teacher's texts as targets")
    targets.add_argument("--out", required=True, metavar="OUT", help="the student's data folder, as in the first step")
    targets.add_argument(
        "--results",
        nargs="+",
        default=[],
        metavar="FILE",
        help="what fairseq-generate wrote (generate-teacher.txt); empty: all of OUT/shards",
    )
    targets.add_argument(
        "--max-tgt-words", type=int, default=20, metavar="N", help="words of a caption that are kept (default: 20)"
    )
    targets.add_argument(
        "--confidence", action="store_true", help="vqa: weigh each row by the probability of the teacher's answer"
    )
    targets.add_argument(
        "--min-confidence", type=float, default=0.0, metavar="P", help="drop rows whose text is less probable than this"
    )
    targets.add_argument(
        "--drop-missing", action="store_true", help="leave out rows without a result: those of bad images"
    )


def run(args: argparse.Namespace) -> None:
    """Run the subcommand."""
    {"rows": _rows, "decode": _decode, "targets": _targets}[args.step](args)


def _rows(args: argparse.Namespace) -> None:
    from narvl.distillation.folder import TEACHER_SPLIT
    from narvl.distillation.rows import write_teacher_rows

    count = write_teacher_rows(args.data, args.out, args.task)
    unit = "images" if args.task == "captioning" else "rows"
    sys.stdout.write(f"{count} {unit} to decode: {args.out}/{TEACHER_SPLIT}.tsv\n")


def _decode(args: argparse.Namespace) -> None:
    from narvl.distillation.decode import decode_shard
    from narvl.distillation.folder import shard_path

    done, count = decode_shard(args.out, args.shard_id, args.num_shards, args.flags)
    path = shard_path(Path(args.out), args.shard_id, args.num_shards)
    sys.stdout.write(f"{done} of {count} rows decoded: {path}\n")


def _targets(args: argparse.Namespace) -> None:
    from narvl.distillation.targets import Choices, write_targets

    choices = Choices(args.max_tgt_words, args.confidence, args.min_confidence, args.drop_missing)
    counts = write_targets(args.out, args.results, choices)
    kept = f"{counts.human} empty ones kept the human target"
    sys.stdout.write(f"{counts.written} targets: {args.out}/train.tsv ({kept})\n")
    for number, reason in (
        (counts.unsure, f"the teacher's text is less probable than {args.min_confidence}"),
        (counts.missing, "no result"),
        (counts.without, "neither teacher nor people have a target"),
    ):
        if number:
            sys.stdout.write(f"{number} rows dropped: {reason}\n")
