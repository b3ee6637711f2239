"""Scenes: what stands where in a picture, how one is drawn by lot, and how it is kept as JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narvl.errors import DataError, UsageError
from narvl.scenes.lexicon import BACKGROUNDS, COLOURS, SHAPES, SIZES

MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 32, 1024
MIN_OBJECTS, MAX_OBJECTS = 2, 4

# Lengths are fractions of the image's side, written as pixels of a 64 px image.
SIDES = {"large": (25 / 64, 29 / 64), "small": (16 / 64, 19 / 64)}
BORDER = 1 / 64
GAP = 2 / 64
# "a is left of b" is true if and only if b's centre is more than this to the right of a's; likewise the other three.
RELATION_MARGIN = 16 / 64
# No two centres of a scene differ, along either axis, by an amount this close to the margin: every relation is plain.
DOUBT = 6 / 64


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        shape: a key of `lexicon.SHAPES`.
        colour: a key of `lexicon.COLOURS`.
        size: a key of `lexicon.SIZES`.
        box: (x0, y0, x1, y1) in pixels of the image, origin top left; the shape touches all four sides and fills the
            pixels from x0 to x1 - 1 and from y0 to y1 - 1.
    """

    shape: str
    colour: str
    size: str
    box: tuple[int, int, int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box, (x, y) in pixels of the image."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


@dataclass(frozen=True)
class Scene:
    """The truth about one picture.

    Attributes:
        image_id: unique within the data set; the TSV's image-id column.
        image_size: side of the square image, in pixels.
        background: a key of `lexicon.BACKGROUNDS`.
        objects: two to four objects, no two alike in both shape and colour, none overlapping.
    """

    image_id: str
    image_size: int
    background: str
    objects: tuple[SceneObject, ...]

    def relation_holds(self, relation: str, first: SceneObject, second: SceneObject) -> bool:
        """Tell whether "first RELATION second" is true.

        Args:
            relation: a key of `lexicon.RELATIONS`.
            first: an object of the scene.
            second: another object of the scene.

        Returns:
            True if the centres differ by more than RELATION_MARGIN of the side, in the relation's direction.
        """
        (ax, ay), (bx, by) = first.centre, second.centre
        distance = {"left": bx - ax, "right": ax - bx, "above": by - ay, "below": ay - by}[relation]
        return distance > RELATION_MARGIN * self.image_size

    def relations(self, first: SceneObject, second: SceneObject) -> tuple[str, ...]:
        """Give the relations that hold of two objects: one, or two where they stand diagonally."""
        return tuple(r for r in ("left", "right", "above", "below") if self.relation_holds(r, first, second))

    def to_json(self) -> str:
        """Write the scene as one line of JSON."""
        objects = [{"shape": o.shape, "colour": o.colour, "size": o.size, "box": list(o.box)} for o in self.objects]
        record = {
            "image_id": self.image_id,
            "image_size": self.image_size,
            "background": self.background,
            "objects": objects,
        }
        return json.dumps(record)


def check_scene_options(image_size: int, objects: tuple[int, int]) -> None:
    """Refuse scenes that cannot be drawn.

    Args:
        image_size: side of the image in pixels.
        objects: least and greatest number of objects.

    Raises:
        UsageError: one is out of range; the message names its flag of `narvl scenes`.
    """
    if not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
        raise UsageError(f"--image-size {image_size}: give a size from {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE} pixels")
    low, high = objects
    if not MIN_OBJECTS <= low <= high <= MAX_OBJECTS:
        raise UsageError(f"--objects {low}-{high}: give a range within {MIN_OBJECTS}-{MAX_OBJECTS}, such as 2-3")


def sample_scene(seed: int, split: str, index: int, image_size: int = 64, objects: tuple[int, int] = (2, 3)) -> Scene:
    """Draw one scene by lot. It depends on the arguments alone, not on what was drawn before.

    Args:
        seed: any integer.
        split: name of the split; part of the image's id.
        index: number of the scene in its split, from 0.
        image_size: side of the image in pixels, 32 to 1024.
        objects: least and greatest number of objects, each 2 to 4.

    Returns:
        The scene.

    Raises:
        UsageError: image_size or objects is out of range.
    """
    check_scene_options(image_size, objects)
    rng = random.Random(f"scene {seed} {split} {index}")
    count = rng.randint(*objects)
    kinds = rng.sample([(shape, colour) for shape in SHAPES for colour in COLOURS], count)
    background = rng.choice(list(BACKGROUNDS))
    sizes = [rng.choice(list(SIZES)) for _ in range(count)]
    # Starting over with the same sizes keeps large objects as frequent as small ones; all sizes have a layout.
    while (boxes := _lay_out(sizes, image_size, rng)) is None:
        pass
    placed = tuple(
        SceneObject(shape, colour, size, box) for (shape, colour), size, box in zip(kinds, sizes, boxes, strict=True)
    )
    return Scene(f"{split}-{index:06d}", image_size, background, placed)


def _lay_out(sizes: list[str], image_size: int, rng: random.Random) -> list[tuple[int, int, int, int]] | None:
    """Place each box somewhere in a quarter of its own, without doubtful relations; None if that failed."""
    quarter = image_size // 2
    border = max(1, round(BORDER * image_size))
    cells = rng.sample([(0, 0), (quarter, 0), (0, quarter), (quarter, quarter)], len(sizes))
    boxes: list[tuple[int, int, int, int]] = []
    for size, (left, top) in zip(sizes, cells, strict=True):
        least, most = (round(side * image_size) for side in SIDES[size])
        side = rng.randint(least, min(most, quarter - 2 * border))  # rounding could make it too large for small images
        x0 = rng.randint(left + border, left + quarter - border - side)
        y0 = rng.randint(top + border, top + quarter - border - side)
        box = (x0, y0, x0 + side, y0 + side)
        if not all(_compatible(box, other, image_size) for other in boxes):
            return None
        boxes.append(box)
    return boxes


def _compatible(a: tuple[int, int, int, int], b: tuple[int, int, int, int], image_size: int) -> bool:
    """Tell whether two boxes lie apart, with each relation between them plainly true or plainly false."""
    gap = GAP * image_size
    apart = a[2] + gap <= b[0] or b[2] + gap <= a[0] or a[3] + gap <= b[1] or b[3] + gap <= a[1]
    margin, doubt = RELATION_MARGIN * image_size, DOUBT * image_size
    distances = [abs(a[axis] + a[axis + 2] - b[axis] - b[axis + 2]) / 2 for axis in (0, 1)]
    return apart and max(distances) > margin and all(abs(distance - margin) > doubt for distance in distances)


def load_scenes(path: str | Path) -> dict[str, Scene]:
    """Read a file SPLIT.scenes.jsonl.

    Args:
        path: the file.

    Returns:
        The scenes by image id, in the file's order.

    Raises:
        DataError: the file is missing or a line is not a scene; the message names file and row.
    """
    scenes: dict[str, Scene] = {}
    for where, line in _lines(Path(path)):
        try:
            scene = _from_record(json.loads(line))
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{where}: not a scene ({reason}): write the file again with `narvl scenes`") from error
        if scene.image_id in scenes:
            raise DataError(f"{where}: image_id {scene.image_id!r} occurs twice: each line must describe another image")
        scenes[scene.image_id] = scene
    return scenes


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            for row, line in enumerate(file, start=1):
                yield f"{path}:{row}", line
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file: `narvl scenes` writes it beside the TSV files") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}): write it again with `narvl scenes`") from error


def _from_record(record: dict[str, Any]) -> Scene:
    """Check one line's record; KeyError, TypeError or ValueError say what is wrong with it."""
    image_size = record["image_size"]
    if not isinstance(image_size, int) or image_size < 1:
        raise ValueError(f"image_size is {image_size!r}, not a number of pixels")
    objects = []
    for item in record["objects"]:
        for key, values in (("shape", SHAPES), ("colour", COLOURS), ("size", SIZES)):
            _one_of(key, item[key], values)
        x0, y0, x1, y1 = item["box"]
        if not all(isinstance(edge, int) for edge in item["box"]):
            raise ValueError(f"box {item['box']} is not in whole pixels")
        if not 0 <= x0 < x1 <= image_size or not 0 <= y0 < y1 <= image_size:
            raise ValueError(f"box {item['box']} does not lie within {image_size} x {image_size} pixels")
        objects.append(SceneObject(item["shape"], item["colour"], item["size"], (x0, y0, x1, y1)))
    _one_of("background", record["background"], BACKGROUNDS)
    return Scene(str(record["image_id"]), image_size, record["background"], tuple(objects))


def _one_of(key: str, value: object, values: Any) -> None:
    if value not in values:
        raise ValueError(f"{key} is {value!r}, not one of {', '.join(values)}")
