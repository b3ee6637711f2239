"""Keys and values that a decoder's self-attention has computed, kept from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

_FIRST_POSITIONS = 32


@dataclass
class _Storage:
    """Memory for keys and values (layers, 2, R, positions, H, D/H), and how many positions some cache has written."""

    tensor: Tensor
    written: int = 0


class SelfCache:
    """Keys and values of the positions decoded so far, of all layers; rows are hypotheses (R).

    New positions are written in place, into memory that is made for several. A cache itself never changes: ``extended``
    and ``reordered`` return another one. Caches may share memory, since a position is written by the first that goes
    on from it, and whoever else goes on from there copies.

    Args:
        layers: their number.
        positions: how many to make room for at first; a cache that outgrows it doubles.
    """

    def __init__(self, layers: int, positions: int = _FIRST_POSITIONS) -> None:
        self._layers = layers
        self._room = positions
        self._length = 0
        self._storage: _Storage | None = None

    @property
    def rows(self) -> int:
        """Number of hypotheses held, 0 before the first position."""
        return 0 if self._storage is None else self._storage.tensor.size(2)

    def extended(self, positions: int = 1) -> Self:
        """Return a cache of more positions, which each layer is yet to ``append``."""
        cache, storage, end = self._empty(), self._storage, self._length + positions
        cache._length = end
        while cache._room < end:
            cache._room *= 2
        if storage is None:
            return cache
        if storage.written > self._length or storage.tensor.size(3) < end:
            storage = _Storage(_room_for(storage.tensor, cache._room))
            storage.tensor[:, :, :, : self._length] = self._written()
        storage.written = end
        cache._storage = storage
        return cache

    def reordered(self, order: Tensor) -> Self:
        """Return a cache of the hypotheses ``order`` (R',)."""
        cache = self._empty()
        cache._length = self._length
        if self._storage is not None:
            memory = _room_for(self._storage.tensor, self._room, len(order))
            torch.index_select(self._written(), 2, order, out=memory[:, :, :, : self._length])
            cache._storage = _Storage(memory, self._length)
        return cache

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write the newest positions of a layer, (R, H, T, D/H) each; return those of all positions."""
        if self._storage is None:
            rows, heads, _, width = keys.shape
            memory = keys.new_empty(self._layers, 2, rows, self._room, heads, width)
            self._storage = _Storage(memory, self._length)
        memory = self._storage.tensor[layer].transpose(2, 3)[:, :, :, : self._length]
        memory[0, :, :, -keys.size(2) :] = keys
        memory[1, :, :, -keys.size(2) :] = values
        return memory[0], memory[1]

    def __getitem__(self, layer: int) -> LayerCache:
        return LayerCache(self, layer)

    def _empty(self) -> Self:
        return type(self)(self._layers, self._room)

    def _written(self) -> Tensor:
        assert self._storage is not None
        return self._storage.tensor[:, :, :, : self._length]


class LayerCache(NamedTuple):
    """One layer's part of a ``SelfCache``."""

    cache: SelfCache
    layer: int

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write the newest positions, (R, H, T, D/H) each; return those of all positions."""
        return self.cache.append(self.layer, keys, values)


def _room_for(like: Tensor, positions: int, rows: int | None = None) -> Tensor:
    """Return memory like a storage's, for other numbers of positions and rows."""
    layers, two, same, _, heads, width = like.shape
    return like.new_empty(layers, two, same if rows is None else rows, positions, heads, width)
