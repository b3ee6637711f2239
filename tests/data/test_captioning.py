from __future__ import annotations

import pytest

from narvl.data.captioning import PROMPT, example, references
from narvl.data.text import clean_caption
from narvl.errors import DataError


def row(caption: str) -> list[str]:
    return ["7", "img", caption, "dog&&ball", "aW1hZ2U="]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A dog runs.", ["A dog runs."]),
        ("A dog runs.&&The dog, running", ["A dog runs.", "The dog, running"]),
        (" a && b ", ["a", "b"]),
        ("a&&&&b&&", ["a", "b"]),
    ],
)
def test_references(caption: str, expected: list[str]) -> None:
    assert references(row(caption)) == expected


def test_example() -> None:
    found = example(row("A dog, running fast!&&another"), True, 3)
    assert PROMPT == " what does the image describe?"
    assert (found.prompt, found.target, found.image) == (PROMPT, " A dog running", "aW1hZ2U=")


def test_further_captions_are_kept_beside_the_target() -> None:
    assert example(row("A dog, running fast!&&...&&another dog"), True, 2).others == ((" another dog", 1.0),)
    assert example(row("A dog"), True, 3).others == ()


def test_the_first_caption_with_words_is_the_target() -> None:
    found = example(row("...&&a dog&&another"), True, 3)
    assert (found.target, found.others) == (" a dog", ((" another", 1.0),))


@pytest.mark.parametrize("caption", ["", "  ", "&&", " && "])
def test_no_caption(caption: str) -> None:
    with pytest.raises(DataError, match=r"the caption \(column 3\) is empty"):
        example(row(caption), True, 20)
    assert references(row(caption)) == []
    assert example(row(caption), False, 20).target == ""


def test_nothing_but_punctuation() -> None:
    with pytest.raises(DataError, match=r"the caption \(column 3\) is '\.\.\.': nothing but punctuation"):
        example(row("..."), True, 20)


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("A dog's ball -- red!", 20, "A dogs ball red"),
        ("  many\t blanks \n here ", 20, "many blanks here"),
        ("one two three", 2, "one two"),
        ("Ünïcode, 犬。", 20, "Ünïcode 犬。"),
        ("?!", 20, ""),
    ],
)
def test_clean_caption(text: str, words: int, expected: str) -> None:
    assert clean_caption(text, words) == expected
