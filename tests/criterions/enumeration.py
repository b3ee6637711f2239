"""Every path of a few queries, of which tests take sums that the code computes in other ways."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

#: Symbols of the small cases: three tokens and the blank, the last.
CLASSES, BLANK = 4, 3


def random_probs(queries: int, seed: int) -> Tensor:
    logits = 2 * torch.randn(1, queries, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return logits.softmax(-1)


def collapse(path: Sequence[int]) -> list[int]:
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK]


def all_paths(probs: Tensor) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Every path of one sample (1, N, V + 1), with its probability."""
    table = probs[0].tolist()
    for path in itertools.product(range(CLASSES), repeat=len(table)):
        probability = 1.0
        for query, symbol in enumerate(path):
            probability *= table[query][symbol]
        yield probability, path
