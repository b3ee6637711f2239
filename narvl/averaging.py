"""From a checkpoint with averaged weights beside its own (``--store-ema``) to one whose weights they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeGuard

from torch import Tensor

from narvl import checkpoints
from narvl.errors import DataError, UsageError

_EMA_KEYS = ("ema", "ema_fp32_params")


def averaged_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """Return a checkpoint's averaged weights, in full precision where it has them so.

    Args:
        state: the checkpoint: the weights under ``model``; the averages under ``extra_state``, as fairseq's trainer
            stores them.

    Returns:
        As many tensors as ``model`` holds; batch norm's counters, which have no average, are the model's.

    Raises:
        DataError: there are no averages, or they are of another model.
    """
    weights, extra = state.get("model"), state.get("extra_state")
    kept = [extra.get(name) for name in reversed(_EMA_KEYS)] if isinstance(extra, dict) else []
    averages = next(filter(_holds_tensors, kept), None)
    if averages is None or not _holds_tensors(weights):
        raise DataError("no averaged weights in it. Train with --store-ema (the recipes of vqa do).")
    different = [
        name for name, tensor in weights.items() if name not in averages or tensor.shape != averages[name].shape
    ]
    if different:
        raise DataError(f"its averages do not fit its weights: {', '.join(different[:5])}.")
    return {name: averages[name] if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def _holds_tensors(value: Any) -> TypeGuard[dict[str, Tensor]]:
    return isinstance(value, dict) and bool(value) and all(isinstance(tensor, Tensor) for tensor in value.values())


def write_averaged(checkpoint: str | Path, out: str | Path) -> int:
    """Write the checkpoint of the averaged weights.

    Args:
        checkpoint: of a run with ``--store-ema``.
        out: the file to write; replaced at once or not at all.

    Returns:
        The number of averaged tensors.

    Raises:
        DataError: the checkpoint cannot be read or holds no averages.
        UsageError: both are the same file, or OUT cannot be written.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    if checkpoint.resolve() == out.resolve():
        raise UsageError(f"{out}: the checkpoint itself, whose weights would be lost. Give another file.")
    state = checkpoints.read(checkpoint)
    try:
        weights = averaged_weights(state)
    except DataError as error:
        raise DataError(f"{checkpoint}: {error}") from error
    kept = {name: value for name, value in state.items() if name != "last_optimizer_state"}
    extra = {name: value for name, value in state["extra_state"].items() if name not in _EMA_KEYS}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}). Give another file.") from error
    checkpoints.write({**kept, "model": weights, "extra_state": extra}, out)
    return sum(tensor.is_floating_point() for tensor in weights.values())
