"""``narvl score``: judges what a model said about a split by the truth in it."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from narvl.commands.scoring import captioning, entailment, grounding, vqa
from narvl.commands.scoring._outcome import TaskScorer, write_json

HELP = "score what fairseq-generate wrote against the truth of a split"

#: Every task that can be scored.
TASKS: dict[str, TaskScorer] = {
    "captioning": captioning,
    "vqa": vqa,
    "grounding": grounding,
    "entailment": entailment,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare a subcommand for each task."""
    tasks = parser.add_subparsers(dest="score_task", metavar="TASK", required=True)
    for name, scorer in TASKS.items():
        task = tasks.add_parser(name, help=scorer.HELP, description=scorer.HELP)
        task.add_argument("--results", required=True, metavar="FILE", help="generate-SPLIT.txt of fairseq-generate")
        task.add_argument("--data", required=True, metavar="DIR", help="data directory that holds SPLIT.tsv")
        task.add_argument("--split", default="test", help="split that was generated (default: %(default)s)")
        task.add_argument("--json", metavar="FILE", help="also write all figures and where they come from to FILE")
        scorer.add_arguments(task)


def run(args: argparse.Namespace) -> None:
    """Score, print the tables, and write the files that were asked for.

    Raises:
        DataError: results or data cannot be used.
        UsageError: the results are named after another split, a file cannot be written, or Java's tokenizer fails.
    """
    from narvl.provenance import provenance

    _check_split(args)
    outcome = TASKS[args.score_task].score(args)
    sys.stdout.write(outcome.text)
    if args.json and outcome.figures is None:
        sys.stdout.write(f"{args.json} was not written: nothing was scored.\n")
    elif args.json and outcome.figures is not None:
        record = {"task": args.score_task, "split": args.split, **outcome.figures, "provenance": provenance()}
        write_json(args.json, record, "--json")


def _check_split(args: argparse.Namespace) -> None:
    """Refuse results that are named after another split of the data: with as many rows, they would be scored."""
    from narvl.errors import UsageError

    named = re.fullmatch(r"generate-(.+)\.txt", Path(args.results).name)
    if named is None or named[1] == args.split:
        return
    if all((Path(args.data) / f"{split}.tsv").is_file() for split in (named[1], args.split)):
        raise UsageError(
            f"--results {args.results}: named after the split {named[1]}, and to be scored by {args.split}. Add "
            f"--split {named[1]}, or rename the file."
        )
