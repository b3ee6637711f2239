from __future__ import annotations

import random
from collections import Counter

import pytest

from narvl.scenes.questions import ask
from narvl.scenes.world import Scene


def test_five_differing_questions(scenes: list[Scene]) -> None:
    for scene in scenes:
        questions = ask(scene, random.Random(0))
        assert len({question.text for question in questions}) == len(questions) == 5
        for question in questions:
            assert question.text.endswith("?") and question.text.count("?") == 1
            confidences = [weight for weight, _ in question.answers]
            assert confidences == sorted(confidences, reverse=True)
            assert confidences[0] >= 0.9
            assert len({answer for _, answer in question.answers}) == len(question.answers) <= 2


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("what colour is the square?", {"blue"}),
        ("what colour is the large shape?", {"red"}),
        ("what shape is the blue object?", {"square", "box"}),
        ("what is the shape of the large object?", {"circle", "disc"}),
        ("what size is the red circle?", {"large", "big"}),
        ("is the ring large or small?", {"small"}),
        ("is the red circle left or right of the blue square?", {"left"}),
        ("is the red ring above or below the red circle?", {"below"}),
        ("how many shapes are there?", {"3"}),
        ("how many red objects are there?", {"2"}),
        ("how many small shapes can we see?", {"2"}),
        ("how many triangles are there?", {"0"}),
        ("how many rings are there?", {"1"}),
        ("what colour is the background?", {"grey"}),
        ("is there a red circle?", {"yes"}),
        ("is there a blue circle?", {"no"}),
        ("is there a red ring below a red circle?", {"yes"}),
        ("is there a red ring above a red circle?", {"no"}),
    ],
)
def test_worked_examples(answers_by_text: dict[str, set[str]], text: str, answers: set[str]) -> None:
    assert answers_by_text[text] == answers


@pytest.fixture(scope="module")
def answers_by_text(hand_made: Scene) -> dict[str, set[str]]:
    """Every question that many rounds ask about the hand-made scene, and all answers given to it."""
    rng = random.Random(0)
    found: dict[str, set[str]] = {}
    for _ in range(3000):
        for question in ask(hand_made, rng):
            found.setdefault(question.text, set()).update(answer for _, answer in question.answers)
    return found


def test_yes_and_no_are_balanced_and_need_the_picture(scenes: list[Scene]) -> None:
    given: Counter[str] = Counter()
    answers: dict[str, set[str]] = {}
    for scene in scenes:
        rng = random.Random(scene.image_id)
        for _ in range(10):
            for question in ask(scene, rng):
                answer = question.answers[0][1]
                if answer in ("yes", "no"):
                    given[answer] += 1
                    answers.setdefault(question.text, set()).add(answer)
    assert 0.45 < given["yes"] / given.total() < 0.55
    both = sum(len(said) == 2 for said in answers.values())
    assert both > 50


def test_synonyms_are_answers_with_a_smaller_weight(scenes: list[Scene]) -> None:
    weights: Counter[float] = Counter()
    for scene in scenes:
        for question in ask(scene, random.Random(0)):
            weights.update(weight for weight, _ in question.answers[1:])
    assert set(weights) == {0.3, 0.6, 0.9, 1.0}
