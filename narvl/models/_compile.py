"""Compilation of a model that only answers: ``torch.compile``, on GPUs with CUDA graphs too."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from narvl.errors import UsageError

#: What ``--inference-compile`` offers.
COMPILE_MODES = ("none", "default", "cuda-graphs")


def check_compile(mode: str, precision: str, device: torch.device) -> None:
    """Refuse what cannot be compiled.

    Args:
        mode: one of ``COMPILE_MODES``.
        precision: in which the model answers.
        device: where the model is.

    Raises:
        UsageError: CUDA graphs without a GPU, or int8, whose operators are not compiled.
    """
    if mode == "cuda-graphs" and device.type != "cuda":
        raise UsageError("--inference-compile cuda-graphs: needs a GPU. Give default, or none.")
    if mode != "none" and precision == "int8":
        raise UsageError(f"--inference-compile {mode}: does not take --inference-precision int8. Drop one of them.")


def takes_prepared(mode: str, precision: str, device: torch.device) -> bool:
    """Tell whether a model is to be prepared for inference before it is compiled.

    On CPUs float32 weights are then packed, by operators that torch's compiler takes from nobody but itself.
    """
    return mode == "none" or device.type != "cpu" or precision != "float32"


def compile_parts(mode: str, *parts: nn.Module) -> None:
    """Compile parts of a model in place; they stay modules, so that their time can be told apart.

    A shape that is met for the first time is compiled, which takes from seconds to minutes.

    Args:
        mode: one of ``COMPILE_MODES``.
        parts: in the state in which they are used.
    """
    if mode == "none":
        return
    options: dict[str, Any] = {"mode": "reduce-overhead"} if mode == "cuda-graphs" else {}
    for part in parts:
        part.forward = torch.compile(part.forward, **options)
