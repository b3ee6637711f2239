from __future__ import annotations

import pytest

from narvl.scenes.world import Scene, SceneObject, sample_scene


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    """Sampled scenes of two to four objects."""
    return [sample_scene(3, "test", index, objects=(2, 4)) for index in range(150)]


@pytest.fixture(scope="session")
def hand_made() -> Scene:
    """A large red circle; a small blue square to its right, level with it; a small red ring below the circle."""
    return Scene(
        "hand",
        64,
        "grey",
        (
            SceneObject("circle", "red", "large", (4, 4, 28, 28)),
            SceneObject("square", "blue", "small", (46, 10, 59, 23)),
            SceneObject("ring", "red", "small", (8, 44, 21, 57)),
        ),
    )
