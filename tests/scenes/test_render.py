from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from narvl.scenes.lexicon import BACKGROUNDS, COLOURS, SHAPES
from narvl.scenes.render import BACKGROUND_RGB, OBJECT_RGB, png_bytes, render, shape_mask
from narvl.scenes.world import Scene


def test_each_box_is_tight_and_nothing_lies_outside(scenes: list[Scene]) -> None:
    for scene in scenes[:60]:
        pixels = np.asarray(render(scene)).astype(int)
        assert pixels.shape == (64, 64, 3)
        differs = (pixels != BACKGROUND_RGB[scene.background]).any(axis=2)
        covered = np.zeros_like(differs)
        for item in scene.objects:
            x0, y0, x1, y1 = item.box
            inside = differs[y0:y1, x0:x1]
            covered[y0:y1, x0:x1] = True
            for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert edge.any(), f"{item} does not touch an edge of its box"
        assert not (differs & ~covered).any()


def test_each_object_has_its_colour(hand_made: Scene) -> None:
    image = render(hand_made)
    assert image.getpixel((16, 16)) == OBJECT_RGB["red"]
    assert image.getpixel((52, 16)) == OBJECT_RGB["blue"]
    assert image.getpixel((14, 50)) == BACKGROUND_RGB["grey"], "a ring has a hole"
    assert image.getpixel((9, 50)) == OBJECT_RGB["red"]
    assert image.getpixel((0, 63)) == BACKGROUND_RGB["grey"]


def test_every_value_can_be_drawn() -> None:
    assert set(OBJECT_RGB) == set(COLOURS)
    assert set(BACKGROUND_RGB) == set(BACKGROUNDS)
    with pytest.raises(ValueError, match="blob"):
        shape_mask("blob", 10)


@pytest.mark.parametrize("side", [12, 13, 24])
def test_shapes_are_smooth_and_far_apart_at_every_size(side: int) -> None:
    masks = {shape: np.asarray(shape_mask(shape, side)).astype(int) / 255 for shape in SHAPES}
    for a, b in combinations(SHAPES, 2):
        assert np.abs(masks[a] - masks[b]).mean() > 0.15, (a, b)
    for shape in ("circle", "triangle", "ring"):
        assert ((masks[shape] > 0.05) & (masks[shape] < 0.95)).any(), "edges are averaged"


def test_colours_are_far_apart() -> None:
    every = {**OBJECT_RGB, **BACKGROUND_RGB}
    for a, b in combinations(every, 2):
        assert np.linalg.norm(np.subtract(every[a], every[b])) > 100, (a, b)


def test_the_same_scene_gives_the_same_bytes(scenes: list[Scene]) -> None:
    first = [png_bytes(render(scene)) for scene in scenes[:10]]
    shape_mask.cache_clear()
    assert first == [png_bytes(render(scene)) for scene in scenes[:10]]
    assert first[0].startswith(b"\x89PNG")
    assert len(set(first)) == 10
