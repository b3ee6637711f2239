"""Compilation of what is timed: ``torch.compile``, with CUDA graphs where they are asked for."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from narvl.errors import UsageError
from narvl.models.narvl import NARVLModel


def add_compile_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--compile`` and ``--cuda-graphs``."""
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the encoder, and NARVL's decoder (AR steps change their shapes and stay as they are)",
    )
    parser.add_argument(
        "--cuda-graphs", action="store_true", help="compile the same, replayed as CUDA graphs (needs --device cuda)"
    )


def compile_mode(args: argparse.Namespace) -> str:
    """Return the arguments' way of compiling: ``none``, ``compile`` or ``cuda-graphs``.

    Raises:
        UsageError: CUDA graphs without a GPU.
    """
    if args.cuda_graphs and args.device != "cuda":
        raise UsageError(f"--cuda-graphs: needs --device cuda, not {args.device}. --compile works without a GPU.")
    return "cuda-graphs" if args.cuda_graphs else "compile" if args.compile else "none"


def compile_model(model: Any, mode: str) -> None:
    """Compile a model's parts in place; the modules stay, so that the encoder can be timed apart.

    Args:
        model: in the state in which it is used.
        mode: see ``compile_mode``.
    """
    if mode == "none":
        return
    options: dict[str, Any] = {"mode": "reduce-overhead"} if mode == "cuda-graphs" else {}
    model.encoder.forward = torch.compile(model.encoder.forward, dynamic=False, **options)
    if isinstance(model, NARVLModel):
        model.decoder.forward = torch.compile(model.decoder.forward, dynamic=False, **options)
