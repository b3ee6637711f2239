"""Join the training rows of an image into one with all its captions, for --references all.

Captioning files repeat the image for each caption. Reference-marginal Q-CTC (docs/references.md) scores all captions of
an image against one pass of the model, and needs them in one row. Captions of one row are joined by &&.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "join the training rows of an image into one with all its captions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="captioning folder with train.tsv")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; the rest is linked")


def run(args: argparse.Namespace) -> None:
    """Run the subcommand."""
    from narvl.grouping import group_captions

    done = group_captions(args.data, args.out)
    sys.stdout.write(f"{args.out}: {done.rows} rows joined to {done.images}, {done.captions} captions\n")
