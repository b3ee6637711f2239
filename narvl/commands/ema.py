"""Write a checkpoint whose weights are the moving average that fairseq-train --store-ema kept.

fairseq-train stores the average beside the weights; fairseq-generate reads the weights alone. The written checkpoint is
for decoding and for --finetune-from-model: it holds no optimizer state.
"""

from __future__ import annotations

import argparse
import sys

HELP = "make a checkpoint of the averaged weights (fairseq-train --store-ema)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint of a run with --store-ema")
    parser.add_argument("out", metavar="OUT", help="the checkpoint to write")


def run(args: argparse.Namespace) -> None:
    """Run the subcommand."""
    from narvl.averaging import write_averaged

    count = write_averaged(args.checkpoint, args.out)
    sys.stdout.write(f"{count} averaged tensors: {args.out}\n")
