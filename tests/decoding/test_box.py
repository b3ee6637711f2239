from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from narvl.decoding.box import most_probable_boxes

FIRST, BINS = 3, 6


def random_log_probs(seed: int, batch: int = 3, queries: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, queries, FIRST + BINS + 1, generator=generator).log_softmax(-1)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_no_box_with_an_area_is_more_probable(seed: int) -> None:
    log_probs = random_log_probs(seed)
    for row, found in zip(log_probs, most_probable_boxes(log_probs, FIRST, BINS), strict=True):
        boxes = [box for box in itertools.product(range(BINS), repeat=4) if box[0] < box[2] and box[1] < box[3]]
        best = max(sum(float(row[query, FIRST + bin]) for query, bin in enumerate(box)) for box in boxes)
        said = (found.tokens - FIRST).tolist()
        assert said[0] < said[2] and said[1] < said[3]
        assert float(found.log_probs.sum()) == pytest.approx(best, abs=1e-5)
        assert found.log_probs.tolist() == [float(row[query, token]) for query, token in enumerate(found.tokens)]


def test_a_model_that_is_sure_is_left_alone() -> None:
    log_probs = torch.full((1, 5, FIRST + BINS + 1), -9.0)
    for query, token in enumerate((0, 1, 2, 5)):
        log_probs[0, query, FIRST + token] = 0.0
    (found,) = most_probable_boxes(log_probs, FIRST, BINS)
    assert (found.tokens - FIRST).tolist() == [0, 1, 2, 5]


def test_two_objects_are_not_mixed() -> None:
    """Left side of the right object and right side of the left one: each query's best, but no box."""
    log_probs = torch.full((1, 4, FIRST + BINS + 1), -9.0)
    for query, likely in enumerate(({4: -0.6, 0: -0.8}, {1: 0.0}, {1: -0.6, 5: -0.7}, {3: 0.0})):
        for token, value in likely.items():
            log_probs[0, query, FIRST + token] = value
    (found,) = most_probable_boxes(log_probs, FIRST, BINS)
    assert (found.tokens - FIRST).tolist() == [4, 1, 5, 3]
