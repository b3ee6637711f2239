"""Visual grounding: the overlap of two boxes (IoU), Acc@0.5 and the mean IoU of a set of boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from narvl.data.boxes import Box

#: A box is right from this IoU on.
THRESHOLD = 0.5

# The bounds of COCO's size classes: the area of the true box in pixels of the original image.
_SMALL_BELOW, _LARGE_FROM = 32**2, 96**2


def iou(one: Box, other: Box) -> float:
    """Return the area that two boxes share, divided by the area that they cover together (Jaccard index).

    Args:
        one: left, top, right, bottom, in any unit.
        other: likewise, in the same unit.

    Returns:
        A value in [0, 1]; 0 where one of the boxes has no area.
    """
    shared = _length(max(one[0], other[0]), min(one[2], other[2])) * _length(
        max(one[1], other[1]), min(one[3], other[3])
    )
    if not shared > 0:
        return 0.0
    return min(1.0, shared / (area(one) + area(other) - shared))


def area(box: Box) -> float:
    """Return the area of a box in squares of its unit; 0 where its corners are in the wrong order."""
    return _length(box[0], box[2]) * _length(box[1], box[3])


def is_valid(box: Box | None) -> bool:
    """Tell whether a model's output is a box: four finite numbers that enclose an area."""
    return box is not None and all(map(math.isfinite, box)) and area(box) > 0


@dataclass(frozen=True)
class Share:
    """How well a group of boxes is found.

    Attributes:
        samples: number of boxes.
        accuracy: share of boxes with an IoU of at least 0.5 (Acc@0.5), in [0, 1].
        mean_iou: in [0, 1].
    """

    samples: int
    accuracy: float
    mean_iou: float


@dataclass(frozen=True)
class GroundingScores:
    """The scores of one set of boxes.

    Attributes:
        overall: of all boxes.
        by_size: of the true boxes of COCO's size classes: ``small`` (area below 32x32 pixels), ``medium``, ``large``
            (from 96x96 pixels).
        malformed: number of outputs that are not four numbers.
        without_area: number of outputs that are four numbers but enclose nothing: corners in the wrong order or equal.
    """

    overall: Share
    by_size: dict[str, Share]
    malformed: int
    without_area: int

    @property
    def invalid(self) -> int:
        """Number of outputs that are no box; each counts as a miss, with an IoU of 0."""
        return self.malformed + self.without_area


def score_boxes(predictions: Mapping[int, Box | None], truths: Mapping[int, Box]) -> GroundingScores:
    """Score boxes.

    Args:
        predictions: the model's box for each text, None where its output is not four numbers.
        truths: one or more true boxes, in pixels of the original image, as the predictions.
    """
    overlaps = {index: _overlap(predictions[index], truth) for index, truth in truths.items()}
    malformed = sum(_is_malformed(predictions[index]) for index in truths)
    sizes = {index: size_class(truth) for index, truth in truths.items()}
    by_size = {
        name: _share([overlaps[index] for index in truths if sizes[index] == name])
        for name in ("small", "medium", "large")
        if name in sizes.values()
    }
    invalid = sum(not is_valid(predictions[index]) for index in truths)
    return GroundingScores(_share(list(overlaps.values())), by_size, malformed, invalid - malformed)


def size_class(box: Box) -> str:
    """Return COCO's size class of a box in pixels: ``small``, ``medium`` or ``large``."""
    if area(box) < _SMALL_BELOW:
        return "small"
    return "medium" if area(box) < _LARGE_FROM else "large"


def _length(begin: float, end: float) -> float:
    return max(0.0, end - begin)


def _is_malformed(box: Box | None) -> bool:
    return box is None or not all(map(math.isfinite, box))


def _overlap(prediction: Box | None, truth: Box) -> float:
    return iou(prediction, truth) if prediction is not None and is_valid(prediction) else 0.0


def _share(overlaps: Sequence[float]) -> Share:
    return Share(
        len(overlaps),
        sum(overlap >= THRESHOLD for overlap in overlaps) / len(overlaps),
        sum(overlaps) / len(overlaps),
    )
