from __future__ import annotations

import json
from itertools import combinations, permutations
from pathlib import Path

import pytest

from narvl.errors import DataError, UsageError
from narvl.scenes.lexicon import OPPOSITE
from narvl.scenes.world import Scene, SceneObject, load_scenes, sample_scene

GOLDEN_BACKGROUND = "white"
GOLDEN_OBJECTS = [
    ("cyan", "ring", "small", (9, 46, 25, 62)),
    ("purple", "cross", "large", (34, 38, 59, 63)),
    ("yellow", "cross", "large", (36, 2, 63, 29)),
]


def test_a_scene_depends_on_its_arguments_alone() -> None:
    first = [sample_scene(5, "valid", index) for index in range(20)]
    again = [sample_scene(5, "valid", index) for index in reversed(range(20))][::-1]
    assert first == again
    assert len(set(first)) == 20
    assert all(
        a.objects != b.objects for a, b in zip(first, (sample_scene(6, "valid", i) for i in range(20)), strict=True)
    )
    assert sample_scene(5, "train", 0).objects != sample_scene(5, "test", 0).objects


def test_the_sampling_is_the_same_on_every_machine() -> None:
    scene = sample_scene(0, "train", 0)
    assert scene.image_id == "train-000000"
    assert [(o.colour, o.shape, o.size, o.box) for o in scene.objects] == GOLDEN_OBJECTS
    assert scene.background == GOLDEN_BACKGROUND


@pytest.mark.parametrize("image_size", [32, 33, 41, 64, 100])
def test_objects_lie_apart_differ_and_stand_in_plain_relations(image_size: int) -> None:
    for index in range(60):
        scene = sample_scene(1, "test", index, image_size, (2, 4))
        assert len({(item.shape, item.colour) for item in scene.objects}) == len(scene.objects)
        for item in scene.objects:
            x0, y0, x1, y1 = item.box
            assert 1 <= x0 < x1 <= image_size - 1 and 1 <= y0 < y1 <= image_size - 1
            assert x1 - x0 == y1 - y0
            assert (x1 - x0 > 0.35 * image_size) == (item.size == "large")
        for a, b in combinations(scene.objects, 2):
            assert a.box[2] < b.box[0] or b.box[2] < a.box[0] or a.box[3] < b.box[1] or b.box[3] < a.box[1]
            for axis in (0, 1):
                share = abs(a.centre[axis] - b.centre[axis]) / image_size
                assert share < 10 / 64 or share > 22 / 64, "a relation that is hard to see"
        for a, b in permutations(scene.objects, 2):
            held = scene.relations(a, b)
            assert 1 <= len(held) <= 2
            assert {OPPOSITE[relation] for relation in held} == set(scene.relations(b, a))


def test_everything_occurs(scenes: list[Scene]) -> None:
    items = [item for scene in scenes for item in scene.objects]
    assert len({item.colour for item in items}) == 7
    assert len({item.shape for item in items}) == 5
    assert 0.4 < sum(item.size == "large" for item in items) / len(items) < 0.6, "crowded scenes keep large objects"
    assert len({scene.background for scene in scenes}) == 3
    assert {len(scene.objects) for scene in scenes} == {2, 3, 4}


@pytest.mark.parametrize(("distance", "holds"), [(16, False), (16.5, True), (-30, False)])
def test_a_relation_needs_more_than_the_margin(distance: float, holds: bool) -> None:
    here = SceneObject("circle", "red", "small", (32, 20, 45, 33))
    x0 = int(32 + distance)
    there = SceneObject("square", "red", "small", (x0, 22, x0 + 13 + round(2 * (distance % 1)), 35))
    scene = Scene("margin", 64, "white", (here, there))
    assert there.centre[0] - here.centre[0] == distance
    assert scene.relation_holds("left", here, there) is holds
    assert scene.relation_holds("right", there, here) is holds
    assert not scene.relation_holds("above", here, there)
    assert not scene.relation_holds("below", there, here)


@pytest.mark.parametrize(
    ("image_size", "objects", "flag"),
    [(31, (2, 3), "--image-size 31"), (2000, (2, 3), "--image-size 2000"), (64, (1, 3), "--objects 1-3"),
     (64, (2, 5), "--objects 2-5"), (64, (3, 2), "--objects 3-2")],
)  # fmt: skip
def test_refuses_scenes_that_cannot_be_drawn(image_size: int, objects: tuple[int, int], flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        sample_scene(0, "train", 0, image_size, objects)


def test_scenes_survive_json(tmp_path: Path, scenes: list[Scene]) -> None:
    path = tmp_path / "test.scenes.jsonl"
    path.write_text("".join(scene.to_json() + "\n" for scene in scenes))
    loaded = load_scenes(path)
    assert list(loaded.values()) == scenes
    assert list(loaded) == [scene.image_id for scene in scenes]


def _without(key: str) -> dict[str, object]:
    return {name: value for name, value in json.loads(sample_scene(0, "test", 1).to_json()).items() if name != key}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (_without("background"), "no 'background'"),
        ({**_without(""), "background": "pink"}, "background is 'pink'"),
        ({**_without(""), "image_size": "64"}, "image_size is '64'"),
        (
            {**_without(""), "objects": [{"shape": "blob", "colour": "red", "size": "large", "box": [1, 1, 9, 9]}]},
            "'blob'",
        ),
        (
            {**_without(""), "objects": [{"shape": "ring", "colour": "red", "size": "large", "box": [1, 1, 9]}]},
            "unpack",
        ),
        (
            {**_without(""), "objects": [{"shape": "ring", "colour": "red", "size": "large", "box": [9, 1, 1, 9]}]},
            "box",
        ),
        (
            {**_without(""), "objects": [{"shape": "ring", "colour": "red", "size": "large", "box": [1, 1, 9.5, 9]}]},
            "whole",
        ),
        ({**_without(""), "objects": 3}, "not iterable"),
        ([1], "not a scene"),
    ],
)
def test_a_bad_line_is_named_with_its_row(tmp_path: Path, record: object, reason: str) -> None:
    path = tmp_path / "test.scenes.jsonl"
    path.write_text(sample_scene(0, "test", 0).to_json() + "\n" + json.dumps(record) + "\n")
    with pytest.raises(DataError, match=reason) as caught:
        load_scenes(path)
    assert f"{path}:2: " in str(caught.value)


def test_broken_json_duplicates_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "test.scenes.jsonl"
    with pytest.raises(DataError, match="no such file"):
        load_scenes(path)
    path.write_text('{"image_id": \n')
    with pytest.raises(DataError, match=r"jsonl:1: not a scene"):
        load_scenes(path)
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(DataError, match=r"jsonl:1: not a scene"):
        load_scenes(path)
    path.write_text((sample_scene(0, "test", 0).to_json() + "\n") * 2)
    with pytest.raises(DataError, match=r"jsonl:2: image_id 'test-000000' occurs twice"):
        load_scenes(path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match="cannot be read"):
        load_scenes(path)
