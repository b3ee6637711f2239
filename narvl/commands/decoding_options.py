"""Options that subcommands share: of the checkpoint's loading, and of beam search (autoregressive models)."""

from __future__ import annotations

import argparse
from typing import Any


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``narvl.inference.Predictor``."""
    from narvl.models._precision import PRECISIONS

    parser.add_argument("--bpe-dir", metavar="DIR", help="folder of the BPE files, if moved since training")
    parser.add_argument("--cpu", action="store_true", help="stay on the CPU even where there is a GPU")
    parser.add_argument(
        "--inference-precision",
        choices=PRECISIONS,
        default="float32",
        help="numbers to compute with: bfloat16 and float16 for weights and activations, int8 (CPU) for the layers'"
        " products",
    )


def add_decoding_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of beam search."""
    from narvl.decoding.options import PREDICTION

    group = parser.add_argument_group("autoregressive models")
    beam, longest = PREDICTION["beam"], PREDICTION["max_len_b"]
    group.add_argument("--beam", type=int, default=beam, metavar="N", help="hypotheses kept in beam search")
    group.add_argument("--max-len-b", type=int, default=longest, metavar="N", help="longest output, in tokens")
    group.add_argument(
        "--no-repeat-ngram-size",
        type=int,
        default=0,
        metavar="N",
        help="never say an n-gram twice; 0: do",
    )


def decoding_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options under fairseq-generate's names.

    Raises:
        UsageError: a value is out of range.
    """
    from narvl.errors import UsageError

    if args.beam < 1 or args.max_len_b < 1 or args.no_repeat_ngram_size < 0:
        raise UsageError(
            f"--beam {args.beam} --max-len-b {args.max_len_b} --no-repeat-ngram-size {args.no_repeat_ngram_size}: give "
            "at least 1, 1 and 0."
        )
    return {
        "beam": args.beam,
        "max_len_b": args.max_len_b,
        "no_repeat_ngram_size": args.no_repeat_ngram_size,
    }
