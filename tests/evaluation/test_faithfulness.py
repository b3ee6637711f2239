"""Faithfulness: shares counted by hand on scenes whose truth is written out."""

from __future__ import annotations

import pytest

from narvl.errors import DataError
from narvl.evaluation.faithfulness import Faithfulness, judge_captions, summarise
from narvl.scenes.world import Scene, SceneObject

RED_LEFT_OF_BLUE = Scene(
    "scene-0",
    64,
    "white",
    (SceneObject("circle", "red", "large", (4, 20, 28, 44)), SceneObject("square", "blue", "small", (46, 26, 59, 39))),
)
TRUE = "a red circle is to the left of a blue square"
FALSE = "a blue square is to the left of a red circle"


def test_shares_of_true_false_and_ungrammatical_captions():
    captions = {0: TRUE, 1: FALSE, 2: "a red circle circle of of", 3: ""}
    verdicts = judge_captions(captions, {index: RED_LEFT_OF_BLUE for index in captions})
    assert [verdicts[index].faithful for index in range(4)] == [True, False, False, False]
    found = summarise(verdicts)
    assert (found.faithful, found.ungrammatical, found.samples) == (0.25, 0.5, 4)
    assert found.statements == len(verdicts[0].statements) > 0


def test_nothing_grammatical():
    assert summarise(judge_captions({0: ""}, {0: RED_LEFT_OF_BLUE})) == Faithfulness(0.0, 1.0, 0.0, 1)


def test_every_scene_needs_a_caption():
    with pytest.raises(DataError, match="2 of 3 scenes have no caption, the first is id 1"):
        judge_captions({0: TRUE}, {index: RED_LEFT_OF_BLUE for index in range(3)})
    with pytest.raises(DataError, match="no scenes"):
        summarise({})
