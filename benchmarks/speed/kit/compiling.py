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
        UsageError: CUDA graphs without a GPU, or int8, whose operators are not compiled.
    """
    if args.cuda_graphs and args.device != "cuda":
        raise UsageError(f"--cuda-graphs: needs --device cuda, not {args.device}. --compile works without a GPU.")
    if args.compile and args.dtype == "int8":
        raise UsageError("--compile: does not take --dtype int8. Give another, or leave --compile out.")
    return "cuda-graphs" if args.cuda_graphs else "compile" if args.compile else "none"


def packs_weights(args: argparse.Namespace) -> bool:
    """Tell whether a model is to be prepared for inference before it is compiled.

    On CPUs float32 weights are then packed, by operators that torch's compiler takes from nobody but itself.
    """
    return not (args.compile and args.device == "cpu" and args.dtype == "float32")


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
