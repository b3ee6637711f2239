"""Grounding's metrics: the IoU's properties, worked examples, and the count of what is no box."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narvl.evaluation.grounding import Share, area, iou, is_valid, score_boxes, size_class

COORDINATE = st.floats(-1e6, 1e6, allow_nan=False)
ANY_BOX = st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE)
#: Corners on a grid, in order, with area.
BOX = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 40)] * 2).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1),
        ((0, 0, 10, 10), (0, 0, 10, 5), 0.5),
        ((0, 0, 10, 10), (5, 5, 15, 15), 25 / 175),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0),  # they touch
        ((0, 0, 10, 10), (2, 2, 2, 8), 0),  # a line
        ((0, 0, 10, 10), (8, 8, 2, 2), 0),  # corners in the wrong order
        ((8, 8, 2, 2), (8, 8, 2, 2), 0),
    ],
)
def test_worked_examples(one, other, expected):
    assert iou(one, other) == pytest.approx(expected)


@given(ANY_BOX, ANY_BOX)
def test_iou_is_symmetric_and_in_range(one, other):
    assert iou(one, other) == iou(other, one)
    assert 0 <= iou(one, other) <= 1


@given(BOX, BOX)
def test_iou_by_counting_squares(one, other):
    """The slow twin: boxes as sets of unit squares."""
    first, second = ({(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (one, other))
    assert iou(one, other) == pytest.approx(len(first & second) / len(first | second))
    assert area(one) == len(first)


@given(BOX, BOX, st.floats(0.01, 100), st.floats(0.01, 100))
def test_stretching_an_axis_changes_no_iou(one, other, x, y):
    def stretch(box):
        return (box[0] * x, box[1] * y, box[2] * x, box[3] * y)

    assert iou(stretch(one), stretch(other)) == pytest.approx(iou(one, other), abs=1e-6)
    assert iou(one, one) == 1


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 1, 1), True),
        (None, False),
        ((0, 0, 0, 1), False),
        ((1, 1, 0, 0), False),
        ((0, 0, math.nan, 1), False),
        ((0, 0, math.inf, 1), False),
    ],
)
def test_what_is_a_box(box, expected):
    assert is_valid(box) is expected


def test_scores():
    truth = (0.0, 0.0, 10.0, 10.0)
    predictions = {0: truth, 1: (0.0, 0.0, 10.0, 5.0), 2: (0.0, 0.0, 10.0, 4.9), 3: None, 4: (9.0, 9.0, 1.0, 1.0)}
    scores = score_boxes(predictions, dict.fromkeys(predictions, truth))
    assert scores.overall == Share(5, 2 / 5, pytest.approx((1 + 0.5 + 0.49) / 5))
    assert (scores.malformed, scores.without_area, scores.invalid) == (1, 1, 2)


@pytest.mark.parametrize("box", [(math.nan,) * 4, (-math.inf, -math.inf, math.inf, math.inf), (0, 0, 1e308, 1e308)])
def test_numbers_that_are_no_coordinates_are_misses(box):
    scores = score_boxes({0: box}, {0: (0.0, 0.0, 10.0, 10.0)})
    assert (scores.overall.accuracy, scores.overall.mean_iou) == (0, pytest.approx(0))


def test_scores_by_size():
    small, medium, large = (0, 0, 31, 33), (0, 0, 32, 32), (0, 0, 96, 96)
    assert [size_class(box) for box in (small, medium, large)] == ["small", "medium", "large"]
    scores = score_boxes({0: small, 1: small, 2: large}, {0: small, 1: large, 2: large})
    assert list(scores.by_size) == ["small", "large"]
    assert scores.by_size["small"] == Share(1, 1.0, 1.0)
    assert scores.by_size["large"].accuracy == 0.5


def test_outputs_of_rows_without_truth_do_not_count():
    scores = score_boxes({0: (0, 0, 1, 1), 1: None}, {0: (0, 0, 1, 1)})
    assert (scores.overall.samples, scores.invalid) == (1, 0)
