from __future__ import annotations

import pytest

from narvl.data.vqa import answers, confidence, example, prompt, write_answers
from narvl.errors import DataError


def row(question: str = "What is it?", said: str = "0.9|!+a dog&&0.3|!+dog", objects: str = "dog&&ball& ") -> list[str]:
    return ["1", "2", question, said, objects, "aW1hZ2U="]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is it?", " what is it?"),
        ("what is it", " what is it?"),
        ("  *#What's  in/on the T-shirt ?", " what's in on the t shirt?"),
        ("Is it red???", " is it red?"),
        ("one two three four", " one two three?"),
    ],
)
def test_questions(question: str, expected: str) -> None:
    assert prompt(question, [], 3 if question.startswith("one") else 80) == expected


def test_object_names() -> None:
    found = example(row(objects="dog&& &&red ball&&cat"), True, 80, 2)
    assert found.prompt == " what is it? object: dog red ball"
    assert example(row(objects=""), True, 80, 30).prompt == " what is it?"
    assert example(row(), True, 80, 0).prompt == " what is it?"


def test_the_surest_answer_is_the_target_and_its_confidence_the_weight() -> None:
    found = example(row(said="0.3|!+dog&&0.9|!+a dog&&0.9|!+the dog"), True, 80, 0)
    assert (found.target, found.weight, found.image) == (" a dog", 0.9, "aW1hZ2U=")
    assert found.others == ((" dog", 0.3), (" the dog", 0.9))
    assert answers(row()) == [(0.9, "a dog"), (0.3, "dog")]


def test_answers_without_confidence_are_no_references() -> None:
    assert example(row(said="0.0|!+cat&&1.0|!+dog"), True, 80, 0).others == ()


def test_the_confidence_is_the_official_soft_accuracy() -> None:
    assert [confidence(votes) for votes in range(11)] == pytest.approx([0, 0.3, 0.6, 0.9, *[1.0] * 7])
    assert [confidence(votes, 1) for votes in range(2)] == [0, 1]
    assert confidence(3, 3) == 1 and confidence(0, 0) == 0


def test_answers_are_written_as_they_are_read() -> None:
    text = write_answers([(0.9, "a dog"), (1 / 3, "dog"), (1.0, "x")])
    assert text == "0.9|!+a dog&&0.3333|!+dog&&1.0|!+x"
    assert answers(row(said=text)) == [(0.9, "a dog"), (0.3333, "dog"), (1.0, "x")]


def test_no_answers() -> None:
    with pytest.raises(DataError, match=r"the answers \(column 4\) are empty"):
        example(row(said=""), True, 80, 0)
    found = example(row(said=""), False, 80, 0)
    assert (found.target, found.weight) == ("", 1.0)


@pytest.mark.parametrize("said", ["0|!+cat", "0.0|!+cat&&0.0|!+dog"])
def test_a_row_that_nothing_is_learnt_from(said: str) -> None:
    with pytest.raises(DataError, match=r"the answers \(column 4\) are '0.*: none has a confidence above 0"):
        example(row(said=said), True, 80, 0)
    assert example(row(said=said), False, 80, 0).weight == 0


@pytest.mark.parametrize(
    "said", ["dog", "1.0|!+", "x|!+dog", "1.5|!+dog", "nan|!+dog", "0.9|dog", "0_1|!+dog", "１|!+dog"]
)
def test_malformed_answers(said: str) -> None:
    with pytest.raises(DataError, match=r"the answers \(column 4\) hold .*confidence\|!\+answer"):
        answers(row(said=said))


@pytest.mark.parametrize("question", ["", " ?", "..,?"])
def test_no_question(question: str) -> None:
    with pytest.raises(DataError, match="nothing is left to ask"):
        example(row(question), True, 80, 0)
