from __future__ import annotations

import pytest

from narvl.data.entailment import example, label
from narvl.errors import DataError


def row(hypothesis: str = "A <person> runs.", caption: str = "Two-dogs", answer: str = "neutral") -> list[str]:
    return ["1", "2", "aW1hZ2U=", hypothesis, caption, answer]


def test_prompts() -> None:
    found = example(row(), True, 80, False)
    assert (found.prompt, found.target) == (' does the image describe " a person runs. "?', " maybe")
    told = example(row(), True, 80, True)
    assert told.prompt == ' can image and text1 " two dogs " imply text2 " a person runs. "?'
    assert told.image == "aW1hZ2U="


@pytest.mark.parametrize(
    ("text", "answer"),
    [("entailment", "yes"), ("contradiction", "no"), ("Neutral ", "maybe"), ("yes", "yes"), ("", None)],
)
def test_labels(text: str, answer: str | None) -> None:
    assert label(row(answer=text)) == answer


def test_a_label_may_be_unknown_where_nobody_asks() -> None:
    with pytest.raises(DataError, match=r"the label \(column 6\) is empty"):
        example(row(answer=""), True, 80, False)
    assert example(row(answer=""), False, 80, False).target == ""


def test_bad_rows() -> None:
    with pytest.raises(DataError, match=r"the label \(column 6\) is 'perhaps'"):
        example(row(answer="perhaps"), True, 80, False)
    with pytest.raises(DataError, match="nothing is left to judge"):
        example(row(hypothesis=" ,"), True, 80, False)
    with pytest.raises(DataError, match="--add-caption asks for it"):
        example(row(caption=""), True, 80, True)
