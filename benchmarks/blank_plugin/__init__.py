"""narvl as a plugin whose blank stays at its random start, as in earlier implementations."""

from __future__ import annotations

from typing import Any

from narvl.models.narvl import NARVLModel

_build = NARVLModel.build_model.__func__  # type: ignore[attr-defined]


def _build_model(cls: type[NARVLModel], cfg: Any, task: Any) -> NARVLModel:
    model = _build(cls, cfg, task)
    model.decoder.blank_embed.weight.requires_grad = False
    return model


NARVLModel.build_model = classmethod(_build_model)  # type: ignore[assignment]
