from __future__ import annotations

import pytest

from narvl.data.grounding import box, example, prompt
from narvl.errors import DataError


def row(text: str = "The man/woman on-left", corners: str = "1,2,3.5,4") -> list[str]:
    return ["1", "2", text, corners, "aW1hZ2U="]


def test_example() -> None:
    found = example(row(), True, 80)
    assert found.prompt == ' which region does the text " the man woman on left " describe?'
    assert (found.target, found.image, found.weight) == ((1, 2, 3.5, 4), "aW1hZ2U=", 1.0)
    assert prompt("#<Person> a b", 2) == ' which region does the text " person a " describe?'


def test_a_box_may_be_unknown_where_nobody_asks() -> None:
    with pytest.raises(DataError, match=r"the box \(column 4\) is empty"):
        example(row(corners=" "), True, 80)
    assert example(row(corners=""), False, 80).target == ""
    assert box(row(corners="")) is None


def test_a_box_in_the_corner_is_a_box() -> None:
    assert example(row(corners="0,0,0,0"), True, 80).target == (0, 0, 0, 0)


def test_no_text() -> None:
    with pytest.raises(DataError, match="nothing is left to look for"):
        example(row("-/-"), True, 80)
