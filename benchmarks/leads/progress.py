"""How far a training has come: what leads that change with time are told."""

from __future__ import annotations

from typing import Any

from narvl.models.ofa import unwrap
from narvl.modules.parallel_decoder import NARVLDecoder
from narvl.tables.scales import SCENES_UPDATES


def count_updates() -> None:
    """Let decoders keep the number of the update, which fairseq tells every module that wants to know."""

    def set_num_updates(self: Any, number: int) -> None:
        self.num_updates = number

    NARVLDecoder.set_num_updates = set_num_updates


def progress(model: Any) -> float:
    """Return the share of the training that is over, from 0 to 1."""
    decoder: Any = unwrap(model).decoder
    return min(1.0, decoder.num_updates / SCENES_UPDATES)
