"""The box codec: columns of pixels to location bins, bins to fractions, fractions to text and back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fuzzing.case import Case, refusal
from fuzzing.texts import texts
from narvl.data.boxes import BoxFrame, format_fractions, parse_fractions, parse_pixels, to_fractions, to_pixels
from narvl.errors import DataError, UsageError

_NUMBERS = ("nan", "inf", "-inf", "1e400", "-0", "0", "1e9", "-999999999", "0x10", "1_0", "\u0661", " 3 ", "", "1e-320")
#: What the written text rounds to, and what the arithmetic of the codec may add.
_ROUNDING = 5.1e-7


def columns() -> st.SearchStrategy[str]:
    """Draw a box column: mostly four numbers, sometimes a box."""
    number = st.one_of(st.floats().map(str), st.integers(-300, 3000).map(str), st.sampled_from(_NUMBERS))
    boxes = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(20, 70)] * 2).map(lambda box: ",".join(map(str, box)))
    lists = st.builds(str.join, st.sampled_from((",", ",", " ")), st.lists(number, min_size=3, max_size=5))
    ordered = st.lists(st.floats(-1e9, 1e9), min_size=4, max_size=4).map(sorted)
    return st.one_of(boxes, lists, ordered.map(lambda box: f"{box[0]},{box[1]},{box[2]},{box[3]}"), texts())


def build(folder: Path) -> list[Case]:
    """Return the cases."""
    side = st.integers(1, 100_000)
    bins = st.integers(0, 2000)
    frame = st.tuples(st.integers(1, 700), st.integers(1, 700), bins)
    said = st.lists(st.floats().map(str), min_size=3, max_size=5).map(" ".join)
    return [
        Case("column", st.tuples(columns(), side, side, frame), check_column),
        Case("generated", st.one_of(said, texts()), check_generated),
    ]


def check_column(given: tuple[str, int, int, tuple[int, int, int]]) -> str:
    """Take a box column all the way to generated text and back."""
    text, width, height, sizes = given
    try:
        frame = BoxFrame(*sizes)
    except UsageError as error:
        return refusal(error, "--")
    try:
        box = parse_pixels(text)
    except DataError as error:
        return refusal(error, "column 4")
    bins = frame.to_bins(box, width, height)
    assert all(isinstance(index, int) and 0 <= index < frame.num_bins for index in bins), bins
    assert bins[0] <= bins[2] and bins[1] <= bins[3], bins
    fractions = frame.to_fractions(bins)
    half_a_bin = 0.5 / (frame.num_bins - 1) * frame.max_image_size / frame.image_size
    for value, found, extent in zip(box, fractions, (width, height) * 2, strict=True):
        assert 0.0 <= found <= 1.0
        assert abs(found - min(max(value / extent, 0.0), 1.0)) <= half_a_bin * (1 + 1e-9)
    again = parse_fractions(format_fractions(fractions))
    assert again is not None
    _same(again, fractions, _ROUNDING)
    _same(to_fractions(to_pixels(fractions, width, height), width, height), fractions, 1e-12)
    return "box"


def check_generated(text: str) -> str:
    """Read what a model may say: four finite numbers, or no box."""
    box = parse_fractions(text)
    if box is None:
        return "no box"
    assert len(box) == 4 and all(map(math.isfinite, box))
    return "box"


def _same(found: Any, expected: Any, tolerance: float) -> None:
    assert all(abs(one - other) <= tolerance for one, other in zip(found, expected, strict=True)), (found, expected)
