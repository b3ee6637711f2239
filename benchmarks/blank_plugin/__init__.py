"""narvl as a plugin whose blank can be left untrained: NARVL_BLANK=frozen (benchmarks/frozen_blank.sh)."""

from __future__ import annotations

import os
from typing import Any

from narvl.models.narvl import NARVLModel

_build = NARVLModel.build_model.__func__  # type: ignore[attr-defined]


def _build_model(cls: type[NARVLModel], cfg: Any, task: Any) -> NARVLModel:
    model = _build(cls, cfg, task)
    model.decoder.blank_embed.weight.requires_grad = os.environ["NARVL_BLANK"] == "trained"
    return model


NARVLModel.build_model = classmethod(_build_model)  # type: ignore[assignment]
