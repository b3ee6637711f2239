"""A checkpoint's settings against its weights, before a model of that size is built: settings can claim any."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from narvl.errors import UsageError
from narvl.models._checkpoint import TOKENS
from narvl.models._settings import is_of_ours, settings_of

# Each setting's weight, the axis that it is the size of, and the rows that are not counted.
_SIZES = {
    "embed_dim": (TOKENS, 1, 0),
    "ffn_embed_dim": ("encoder.layers.0.fc1.weight", 0, 0),
    "attention_heads": ("encoder.token_rel_pos_table_list.0.weight", 1, 0),
    "max_source_positions": ("encoder.embed_positions.weight", 0, 2),
    "max_target_positions": ("decoder.embed_positions.weight", 0, 2),
    "resnet_width": ("encoder.embed_images.conv1.weight", 0, 0),
}
# Each setting's numbered parts.
_COUNTS = {
    "encoder_layers": [r"encoder\.layers\.(\d+)\..*"],
    "decoder_layers": [r"decoder\.layers\.(\d+)\..*"],
    "resnet_blocks": [rf"encoder\.embed_images\.layer{stage}\.(\d+)\..*" for stage in (1, 2, 3)],
}


def check_sizes(state: Mapping[str, Any]) -> None:
    """Compare the settings of one of our models with the weights beside them.

    Args:
        state: a checkpoint, as fairseq has it once it is loaded; those of other models are not looked at.

    Raises:
        UsageError: a setting is not of the weights' size, or a weight claims more than is stored.
    """
    if not is_of_ours(state):
        return
    model, task = (settings_of(state, part) for part in ("model", "task"))
    weights = state["model"]
    hollow = [name for name, weight in weights.items() if not _is_stored(weight)]
    if hollow:
        raise UsageError(f"checkpoint: {hollow[0]!r} claims more numbers than are stored, or is no tensor. Replace it.")
    found: dict[str, Any] = {name: _size(weights, *where) for name, where in _SIZES.items()}
    counts = {name: [_count(weights, pattern) for pattern in patterns] for name, patterns in _COUNTS.items()}
    found |= {name: count if name == "resnet_blocks" else count[0] for name, count in counts.items()}
    wrong = [
        f"{name} {str(_plain(model[name]))[:40]}, its weights {value}"
        for name, value in found.items()
        if name in model and _plain(model[name]) != value
    ]
    symbols = sum(number for name in ("code_dict_size", "num_bins") if isinstance(number := task.get(name), int))
    tokens = _size(weights, TOKENS, 0, 0)
    if symbols > tokens:
        wrong.append(f"{symbols:,} image codes and bins, its weights {tokens:,} tokens")
    if wrong:
        raise UsageError(f"checkpoint: its settings say {'; '.join(wrong)}. It is damaged: give another one.")


def _plain(setting: Any) -> Any:
    """Return a setting as it is compared: by its type where that is not a setting's, since a tensor can be endless."""
    if setting is None or isinstance(setting, int | float | str):
        return setting
    return [_plain(part) for part in setting] if isinstance(setting, Sequence) else type(setting).__name__


def _is_stored(weight: object) -> bool:
    return (
        isinstance(weight, Tensor)
        and weight.layout == torch.strided
        and weight.device.type == "cpu"
        and weight.numel() * weight.element_size() <= weight.untyped_storage().nbytes()
    )


def _size(weights: Mapping[str, Tensor], name: str, axis: int, uncounted: int) -> int:
    weight = weights.get(name)
    return 0 if weight is None or weight.dim() <= axis else weight.size(axis) - uncounted


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in weights if (match := re.fullmatch(pattern, name))})
