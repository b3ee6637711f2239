"""A model whose logits are given, and batches for it: losses are tested apart from any network."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from narvl.models.narvl import NARVLModel


class FixedLogits(NARVLModel):
    """Gives back the ``logits`` of its input, as if a network had computed them; ``inner`` are those of its layers."""

    def __init__(self, blank: int, alignment: str) -> None:
        torch.nn.Module.__init__(self)
        self.blank = blank
        self.alignment = alignment
        self.decoder = Namespace(layers=range(3), self_conditioned=frozenset())

    def forward(  # type: ignore[override]
        self,
        logits: Tensor,
        padding: Tensor | None = None,
        inner: Sequence[Tensor] = (),
        intermediate: Sequence[int] = (),
    ) -> tuple[Tensor, dict[str, Any]]:
        return logits, {"padding": padding, "intermediate": [inner[layer - 1] for layer in intermediate]}


@pytest.fixture(scope="session")
def fixed_logits() -> Callable[[int, str], FixedLogits]:
    return FixedLogits


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., dict[str, Any]]:
    """A batch: logits (B, N, V + 1), and targets as lists of different lengths."""

    def make(logits: Tensor, targets: list[list[int]], **entries: Any) -> dict[str, Any]:
        rows = [torch.tensor(target, dtype=torch.long) for target in targets]
        lengths = torch.tensor([len(row) for row in rows])
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)
        return {
            "net_input": {"logits": logits},
            "target": padded,
            "target_lengths": lengths,
            "ntokens": int(lengths.sum()),
            **entries,
        }

    return make
