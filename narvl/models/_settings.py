"""The settings in a checkpoint of ours, before anything is built of them: what a command line could have given."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from fairseq.models import ARCH_MODEL_REGISTRY
from omegaconf import DictConfig, OmegaConf

from narvl.errors import UsageError
from narvl.models.ofa import OFAModel

_PARTS = ("model", "task", "criterion")


def settings_of(state: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """Return a part of a checkpoint's settings (``model``, ``task``, ...); empty where it has none."""
    cfg = state.get("cfg")
    if isinstance(cfg, DictConfig):
        cfg = OmegaConf.to_container(cfg, resolve=False)  # what omegaconf would look up elsewhere stays as it is
    settings = cfg.get(part) if isinstance(cfg, Mapping) else None
    settings = vars(settings) if isinstance(settings, Namespace) else settings
    return settings if isinstance(settings, Mapping) else {}


def is_of_ours(state: Mapping[str, Any]) -> bool:
    """Tell whether a checkpoint's settings are those of one of our models."""
    model = settings_of(state, "model")
    return issubclass(ARCH_MODEL_REGISTRY.get(str(model.get("_name") or model.get("arch")), object), OFAModel)


def check_settings(state: Mapping[str, Any]) -> None:
    """Look at the settings of one of our models, and of its task and criterion.

    Args:
        state: a checkpoint, as fairseq has it once it is loaded; those of other models are not looked at.

    Raises:
        UsageError: a part is missing, or a value is none that a command line could have given: a tensor, a NaN, or what
            omegaconf would look up elsewhere, such as ``${oc.env:HOME}``.
    """
    if not is_of_ours(state):
        return
    for part in _PARTS:
        settings = settings_of(state, part)
        if not settings:
            raise UsageError(f"checkpoint: it has no settings of its {part}. It is damaged: give another one.")
        for name, value in settings.items():
            if not _is_plain(value):
                raise UsageError(
                    f"checkpoint: its setting {str(name)[:40]} of the {part} is {_show(value)}, which no flag can "
                    "give. It is damaged: give another one."
                )


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return "${" not in value
    if value is None or isinstance(value, int | Enum):
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(_is_plain(part) for part in value.values())
    return isinstance(value, Sequence) and not isinstance(value, bytes) and all(_is_plain(part) for part in value)


def _show(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[:40])
    return str(value) if isinstance(value, float) else f"a {type(value).__name__}"
