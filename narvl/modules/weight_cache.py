"""Keeps what depends on weights alone: computed once for many batches, and anew as soon as a weight has changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")


class WeightCache:
    """A few values, the least recently used of which makes room.

    A weight counts as changed when its memory or torch's count of in-place changes differ. What changes a weight behind
    torch's back (``weight.data.copy_``, as fairseq's half-precision optimisers do) happens in training: owners
    ``clear`` the cache when they begin to train.

    Args:
        size: values kept, at least 1.
    """

    def __init__(self, size: int = 2) -> None:
        self.size = size
        self._values: OrderedDict[Hashable, tuple[tuple[Any, ...], tuple[Tensor, ...], Any]] = OrderedDict()

    @torch.compiler.disable  # what is kept must not lie in memory that a replayed CUDA graph writes anew
    def get(
        self,
        key: Hashable,
        weights: Sequence[Tensor],
        compute: Callable[[], Value],
        enough: Callable[[Value], bool] = lambda value: True,
    ) -> Value:
        """Return the value of a key, computing it where none is kept that is enough, or a weight of it has changed."""
        state = tuple((weight.data_ptr(), weight.shape, weight.dtype, _version(weight)) for weight in weights)
        entry = self._values.get(key)
        if entry is None or entry[0] != state or not enough(entry[2]):
            # The weights are kept too: as long as they live, nothing else lies where they do.
            entry = self._values[key] = (state, tuple(weights), compute())
            while len(self._values) > self.size:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        value: Value = entry[2]
        return value

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> WeightCache:
        return WeightCache(self.size)

    def __reduce__(self) -> tuple[type[WeightCache], tuple[int]]:
        return WeightCache, (self.size,)


def _version(weight: Tensor) -> int:
    """Return torch's count of in-place changes; tensors of inference mode have none, and are not changed."""
    return 0 if weight.is_inference() else weight._version
