from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from narvl.modules.self_cache import SelfCache

LAYERS, HEADS, WIDTH = 2, 3, 4


def step(cache: SelfCache, value: Tensor) -> SelfCache:
    """Go on by one position, whose keys say ``value`` (R,) and the layer, and whose values say the opposite."""
    cache = cache.extended()
    for layer in range(LAYERS):
        new = (value + 100 * layer).view(-1, 1, 1, 1).expand(-1, HEADS, 1, WIDTH)
        keys, values = cache[layer].append(new, -new)
        assert torch.equal(keys, -values)
    return cache


def said(cache: SelfCache) -> list[list[float]]:
    """Read what a cache holds, by going on from it by a position that is not looked at."""
    longer = cache.extended()
    found = []
    for layer in range(LAYERS):
        nothing = torch.zeros(max(cache.rows, 1), HEADS, 1, WIDTH)
        keys, _ = longer[layer].append(nothing, nothing)
        assert keys.shape == (cache.rows, HEADS, keys.size(2), WIDTH)
        assert torch.equal(keys, keys[:, :1, :, :1].expand_as(keys))
        found.append((keys[:, 0, :-1, 0] - 100 * layer).tolist())
    assert all(rows == found[0] for rows in found)
    return found[0]


def test_positions_follow_each_other_and_rows_their_order() -> None:
    cache = SelfCache(LAYERS, positions=2)
    assert cache.rows == 0
    cache = step(
        step(step(cache.reordered(torch.tensor([0])), torch.tensor([1.0, 2.0])), torch.tensor([3.0, 4.0])),
        torch.tensor([5.0, 6.0]),
    )
    assert said(cache) == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]
    cache = step(cache.reordered(torch.tensor([1, 1, 0])), torch.tensor([7.0, 8.0, 9.0]))
    assert cache.rows == 3
    assert said(cache) == [[2.0, 4.0, 6.0, 7.0], [2.0, 4.0, 6.0, 8.0], [1.0, 3.0, 5.0, 9.0]]


def test_new_positions_are_written_where_the_old_ones_lie() -> None:
    cache = step(SelfCache(LAYERS, positions=3), torch.tensor([1.0]))
    places = []
    for value in (2.0, 3.0, 4.0):
        cache = cache.extended()
        new = torch.full((1, HEADS, 1, WIDTH), value)
        keys, _ = cache[0].append(new, new)
        cache[1].append(new, new)
        places.append(keys.data_ptr())
    assert places[0] == places[1] != places[2], "room for three positions, then twice as many"


@settings(deadline=None, max_examples=50)
@given(room=st.integers(1, 5), moves=st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=12))
def test_branches_do_not_interfere(room: int, moves: list[tuple[int, bool]]) -> None:
    """From any earlier cache one may go on, with its rows reordered or not: each holds its own past."""
    caches = [(SelfCache(LAYERS, room), [[], []])]
    for number, (parent, swap) in enumerate(moves, start=1):
        cache, past = caches[parent % len(caches)]
        if swap:
            cache, past = cache.reordered(torch.tensor([1, 0])), past[::-1]
        value = [float(number), number + 0.5]
        caches.append((step(cache, torch.tensor(value)), [[*row, new] for row, new in zip(past, value, strict=True)]))
    for cache, past in caches[1:]:
        assert said(cache) == past
