"""Turn an autoregressive teacher's captions into the student's training data, in two steps.

Between them the teacher decodes the rows: fairseq-generate OUT --gen-subset teacher --results-path OUT ...
"""

from __future__ import annotations

import argparse
import sys

HELP = "make a student's training data from a teacher's captions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    rows = steps.add_parser("rows", help="first: write OUT/teacher.tsv, one row an image, for the teacher to decode")
    rows.add_argument("--data", required=True, metavar="DATA", help="data folder with train.tsv")
    rows.add_argument("--out", required=True, metavar="OUT", help="the student's data folder")
    targets = steps.add_parser("targets", help="then: write OUT/train.tsv with the teacher's captions as targets")
    targets.add_argument("--out", required=True, metavar="OUT", help="the student's data folder, as in the first step")
    targets.add_argument(
        "--results", required=True, metavar="FILE", help="what fairseq-generate wrote: generate-teacher.txt"
    )
    targets.add_argument("--max-tgt-words", type=int, default=20, metavar="N", help="words of a caption that are kept")


def run(args: argparse.Namespace) -> None:
    """Run the subcommand."""
    from narvl import distillation

    if args.step == "rows":
        count = distillation.write_teacher_rows(args.data, args.out)
        sys.stdout.write(f"{count} images to decode: {args.out}/{distillation.TEACHER_SPLIT}.tsv\n")
    else:
        count, empty = distillation.write_targets(args.out, args.results, args.max_tgt_words)
        sys.stdout.write(f"{count} targets: {args.out}/train.tsv ({empty} empty ones kept the human caption)\n")
