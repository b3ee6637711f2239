"""What raw annotations hold: values of any kind and size, named in a line or turned into fields."""

from __future__ import annotations

from typing import Any

import pytest

from narvl.prepare.fields import BadRow, number_id, show, text_id


def nested(levels: int) -> list[Any]:
    """A list of two to the power of ``levels`` texts, in as many objects as levels."""
    value: list[Any] = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


LONG = pytest.param(10**5000, id="thousands of digits")
NESTED = pytest.param(nested(20), id="a million texts")
LETTERS = pytest.param("x" * 10**6, id="a million letters")


@pytest.mark.parametrize(
    "value",
    [NESTED, LONG, [10**5000], [-(10**5000)], pytest.param("x" * 10**6, id="a million letters"), ["x" * 99] * 99],
)
def test_whatever_is_shown_is_short(value: Any) -> None:
    assert 0 < len(show(value)) < 1000


@pytest.mark.parametrize("value", [None, "a text", ["a", 1.5], {"a": 1}, 7, b"bytes"])
def test_short_values_are_shown_whole(value: Any) -> None:
    assert show(value) == repr(value)


@pytest.mark.parametrize("value", [7, " 7 "])
def test_whole_numbers(value: Any) -> None:
    assert number_id({"id": value}, "id") == 7


@pytest.mark.parametrize("value", [10**18, -(10**18), LONG, "1" * 19, "７", True, 7.0, None, [7], NESTED])
def test_no_ids(value: Any) -> None:
    with pytest.raises(BadRow, match="its id is .* Give a whole number of at most 18 digits"):
        number_id({"id": value}, "id")


@pytest.mark.parametrize("value", [10**18, LONG, True, None, " "])
def test_no_ids_of_text(value: Any) -> None:
    with pytest.raises(BadRow, match="its id is .* Give a text or a whole number"):
        text_id({"id": value}, "id")
