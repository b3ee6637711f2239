from __future__ import annotations

import random

import pytest

from narvl.scenes.grammar import parse
from narvl.scenes.hypotheses import (
    ANSWER_OF,
    LABELS,
    UNSEEN_ADJECTIVES,
    UNSEEN_COMPARISONS,
    UNSEEN_FACTS,
    write_hypothesis,
)
from narvl.scenes.judge import judge
from narvl.scenes.world import Scene

UNSEEN = (*UNSEEN_ADJECTIVES, *UNSEEN_COMPARISONS, *UNSEEN_FACTS)


def written(scene: Scene, label: str, count: int = 40) -> list[str]:
    rng = random.Random(f"{label} {scene.image_id}")
    return [write_hypothesis(scene, label, rng) for _ in range(count)]


def unseen(text: str) -> bool:
    return any(f" {word} " in f" {text} " for word in UNSEEN)


def test_each_label_has_its_answer() -> None:
    assert [ANSWER_OF[label] for label in ("entailment", "contradiction", "neutral")] == ["yes", "no", "maybe"]
    assert tuple(ANSWER_OF) == LABELS


def test_a_hypothesis_has_one_label_in_a_scene(scenes: list[Scene]) -> None:
    for scene in scenes[:60]:
        texts = [set(written(scene, label)) for label in LABELS]
        assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


def test_the_judge_agrees(scenes: list[Scene]) -> None:
    tried = 0
    for scene in scenes:
        for label, faithful in (("entailment", True), ("contradiction", False)):
            for text in written(scene, label, 10):
                if parse(text) is not None:
                    assert judge(text, scene).faithful is faithful, (text, scene)
                    tried += 1
    assert tried > 500


@pytest.mark.parametrize(
    ("label", "expected", "never"),
    [
        (
            "entailment",
            {"there is a red circle", "the background is grey", "there are three shapes",
             "a red ring is below a red circle", "we see a blue square"},
            {"there is a blue circle", "there are two shapes", "a red ring is above a red circle"},
        ),
        (
            "contradiction",
            {"there is a blue circle", "the background is white", "there are two objects",
             "a red circle is right of a blue square", "a blue ring was moved yesterday"},
            {"there is a red circle", "a red circle is left of a blue square", "a red ring was moved yesterday"},
        ),
        (
            "neutral",
            {"a red ring was moved yesterday", "a red circle is heavier than a blue square",
             "there is a warm red ring", "we see an old blue square"},
            {"a blue ring was moved yesterday", "there is a red circle"},
        ),
    ],
)  # fmt: skip
def test_hypotheses_of_a_hand_made_scene(hand_made: Scene, label: str, expected: set[str], never: set[str]) -> None:
    texts = set(written(hand_made, label, 6000))
    assert expected <= texts
    assert not never & texts


def test_words_alone_do_not_tell_the_label(scenes: list[Scene]) -> None:
    by_label = {label: [text for scene in scenes for text in written(scene, label)] for label in LABELS}
    share = {label: sum(map(unseen, texts)) / len(texts) for label, texts in by_label.items()}
    assert share["neutral"] == 1
    assert share["entailment"] == 0
    assert 0.45 < share["contradiction"] < 0.55
    assert len(set(by_label["entailment"]) & set(by_label["contradiction"])) > 100
    assert len(set(by_label["neutral"]) & set(by_label["contradiction"])) > 100
