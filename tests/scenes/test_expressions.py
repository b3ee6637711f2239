from __future__ import annotations

import random

import pytest

from narvl.scenes.expressions import Reference, refer, refer_without, references, referents
from narvl.scenes.grammar import Mention
from narvl.scenes.world import Scene, SceneObject


def test_an_expression_never_fits_two_objects(scenes: list[Scene]) -> None:
    for scene in scenes[:20]:
        owner: dict[str, SceneObject] = {}
        for item in scene.objects:
            rng = random.Random(0)
            for _ in range(30):
                assert owner.setdefault(refer(scene, item, rng), item) is item


def test_references_of_a_hand_made_scene(hand_made: Scene) -> None:
    circle, square, ring = hand_made.objects
    assert referents(Reference(colour="red"), hand_made) == [circle, ring]
    assert referents(Reference(size="small"), hand_made) == [square, ring]
    assert referents(Reference(colour="red", size="small"), hand_made) == [ring]
    assert referents(Reference(extreme="right"), hand_made) == [square]
    assert referents(Reference(extreme="left"), hand_made) == [], "circle and ring are level"
    assert referents(Reference(extreme="below"), hand_made) == [ring]
    left_of_square = ("left", Mention("blue", "square"))
    assert referents(Reference(relation=left_of_square), hand_made) == [circle, ring]
    assert referents(Reference(relation=left_of_square, shape="ring"), hand_made) == [ring]
    assert referents(Reference(relation=("left", Mention("red", "square"))), hand_made) == []
    assert Reference(colour="red") not in references(hand_made, circle)
    assert Reference(size="large") in references(hand_made, circle)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (0, {"the large shape", "the big red disc", "the circle", "the red shape over the red ring"}),
        (1, {"the blue object", "the rightmost shape", "the box", "the shape right of the red circle"}),
        (2, {"the bottommost red shape", "the small red object", "the hoop", "the shape below the red circle"}),
    ],
)
def test_expressions_of_a_hand_made_scene(hand_made: Scene, position: int, expected: set[str]) -> None:
    rng = random.Random(0)
    written = {refer(hand_made, hand_made.objects[position], rng) for _ in range(3000)}
    assert expected <= written
    never = {
        "the red shape",
        "the small shape",
        "the small object",
        "the leftmost shape",
        "the shape",
        "the red object",
    }
    assert not never & written


def test_what_must_stay_unsaid_stays_unsaid(hand_made: Scene) -> None:
    rng = random.Random(0)
    circle, square, ring = hand_made.objects
    for _ in range(200):
        name = refer_without(hand_made, square, rng, ("colour",))
        assert name is not None and "blue" not in name
        name = refer_without(hand_made, ring, rng, ("shape",))
        assert name is not None and "ring" not in name and "hoop" not in name


def test_no_name_where_nothing_tells_objects_apart() -> None:
    alike = tuple(SceneObject("ring", "red", "small", (x, 20, x + 13, 33)) for x in (2, 15))
    scene = Scene("alike", 640, "white", alike)
    assert refer_without(scene, alike[0], random.Random(0), ()) is None
    with pytest.raises(ValueError, match="alike"):
        refer(scene, alike[0], random.Random(0))
