"""VQA's metrics: worked examples of the soft accuracy, a brute-force twin, and scores by type."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narvl.evaluation.normalisation import normalise
from narvl.evaluation.vqa import (
    Question,
    RawAnswers,
    Share,
    WeightedAnswers,
    answer_type,
    exact_match,
    score_answers,
    soft_accuracy,
    weighted_accuracy,
)

WORDS = st.sampled_from(["yes", "Yes.", "no", "two", "2", "the dog", "dog", "dont", "don't", "", "a"])


def people(**counts):
    return [answer for answer, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(("same", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (5, 1), (9, 1), (10, 1)])
def test_ten_people(same, expected):
    assert soft_accuracy("yes", people(yes=same, no=10 - same)) == pytest.approx(expected, abs=1e-12)


def test_a_tie_gives_both_answers_their_share():
    answers = people(cat=5, dog=5)
    assert soft_accuracy("cat", answers) == soft_accuracy("dog", answers) == 1
    answers = people(cat=2, dog=2, cow=2, pig=2, hen=2)
    assert soft_accuracy("hen", answers) == pytest.approx(0.6)


def test_answers_that_are_the_same_once_normalised_add_up():
    answers = ["two", "2", "Two.", "the two", *people(three=6)]
    assert soft_accuracy("2", answers) == 1
    assert soft_accuracy("a two!", answers) == 1
    assert soft_accuracy("twos", answers) == 0


def test_both_sides_are_normalised_even_if_all_people_agree():
    assert soft_accuracy("dont walk", ["Don't walk."] * 10) == 1
    assert soft_accuracy("1000", ["1,000"] * 10) == 1
    assert soft_accuracy("1 000", ["1,000"] * 10) == 0


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], 0),
        (["yes"], 1),
        (["no"], 0),
        (["yes", "yes"], 1),
        (["yes", "no"], 0.5),
        (["yes"] * 3, 1),
        (["yes"] * 4, 1),
        (["yes", "no", "no", "no", "no"], 4 / 5 / 3),
    ],
)
def test_other_numbers_of_people(answers, expected):
    assert soft_accuracy("yes", answers) == pytest.approx(expected)


@given(WORDS, st.lists(WORDS, min_size=4, max_size=12))
def test_leaving_each_person_out(prediction, answers):
    """The slow twin: the mean over those left out, counted one by one."""
    scores = []
    for left_out in range(len(answers)):
        others = [normalise(answer) for index, answer in enumerate(answers) if index != left_out]
        scores.append(min(others.count(normalise(prediction)) / 3, 1))
    assert soft_accuracy(prediction, answers) == pytest.approx(sum(scores) / len(scores))


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=12), st.randoms())
def test_soft_accuracy_is_in_range_and_no_order_matters(prediction, answers, rng):
    value = soft_accuracy(prediction, answers)
    assert 0 <= value <= 1
    rng.shuffle(answers)
    assert soft_accuracy(prediction, answers) == value


def test_weighted_accuracy():
    answers = [(1.0, "cross"), (0.3, "plus")]
    assert weighted_accuracy("Cross.", answers) == 1
    assert weighted_accuracy("the plus", answers) == 0.3
    assert weighted_accuracy("ring", answers) == weighted_accuracy("", answers) == 0
    assert weighted_accuracy("2", [(0.3, "two"), (0.6, "2")]) == pytest.approx(0.9)
    assert weighted_accuracy("2", [(0.9, "two"), (0.9, "2")]) == 1
    assert weighted_accuracy("2", []) == 0


@given(st.lists(WORDS, min_size=10, max_size=10), WORDS)
def test_the_answers_column_scores_as_the_ten_people_do(answers, prediction):
    """Also where people wrote the same answer in different ways, each with a confidence of its own."""
    earned = {1: 0.3, 2: 0.6, 3: 0.9}
    weights = [(earned.get(count, 1.0), answer) for answer, count in Counter(answers).items()]
    assert weighted_accuracy(prediction, weights) == pytest.approx(soft_accuracy(prediction, answers))


def test_exact_match_keeps_articles_and_numbers_apart():
    assert exact_match(" Traffic  light", "traffic light")
    assert not exact_match("the dog", "dog")
    assert not exact_match("2", "two")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("Yes", "yes/no"), ("no.", "yes/no"), ("two", "number"), ("2.5", "number"), ("2:50", "number"), ("red", "other")],
)
def test_answer_type(answer, expected):
    assert answer_type(answer) == expected


def test_best_answer():
    assert RawAnswers(("cat", "dog", "dog", "cat", "hen")).best == "cat"
    assert WeightedAnswers(((0.6, "cat"), (1.0, "dog"), (1.0, "hen"))).best == "dog"


def test_scores_by_type():
    raw = RawAnswers((*["two"] * 9, "3"))
    questions = {
        0: Question(raw, "number", "how many"),
        2: Question(raw, "number", "what"),
        5: Question(WeightedAnswers(((1.0, "yes"),)), "yes/no"),
    }
    scores = score_answers({0: "2", 1: "never asked", 2: "3", 5: "yes"}, questions)
    assert scores.overall == Share(3, pytest.approx((1 + 0.3 + 1) / 3), pytest.approx(1 / 3))
    assert scores.by_answer_type == {
        "number": Share(2, pytest.approx(0.65), 0.0),
        "yes/no": Share(1, 1.0, 1.0),
    }
    assert scores.by_question_type == {"how many": Share(1, 1.0, 0.0), "what": Share(1, pytest.approx(0.3), 0.0)}
