"""Entailment's metrics: the confusion matrix and what follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narvl.data.entailment import ANSWERS
from narvl.evaluation.entailment import OTHER, score_entailment


def test_worked_example():
    truths = dict(enumerate(["yes", "yes", "yes", "no", "maybe"]))
    said = dict(enumerate([" Yes", "no", "a cat", "no", ""]))
    scores = score_entailment(said, truths)
    assert scores.confusion == {
        "yes": {"yes": 1, "no": 1, "maybe": 0, OTHER: 1},
        "no": {"yes": 0, "no": 1, "maybe": 0, OTHER: 0},
        "maybe": {"yes": 0, "no": 0, "maybe": 0, OTHER: 1},
    }
    assert (scores.samples, scores.accuracy) == (5, 0.4)
    assert scores.recall == {"yes": pytest.approx(1 / 3), "no": 1.0, "maybe": 0.0}


def test_a_class_that_is_never_true_has_no_recall():
    scores = score_entailment({0: "maybe"}, {0: "yes"})
    assert scores.recall == {"yes": 0.0, "no": None, "maybe": None}


@given(st.lists(st.tuples(st.sampled_from(ANSWERS), st.text(max_size=8) | st.sampled_from(ANSWERS)), min_size=1))
def test_every_answer_is_counted_once(pairs):
    truths, said = ({index: pair[side] for index, pair in enumerate(pairs)} for side in (0, 1))
    scores = score_entailment(said, truths)
    assert sum(sum(row.values()) for row in scores.confusion.values()) == len(pairs) == scores.samples
    assert 0 <= scores.accuracy <= 1
    for truth in set(truths.values()):
        assert sum(scores.confusion[truth].values()) == list(truths.values()).count(truth)
