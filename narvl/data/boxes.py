"""Boxes in their three frames: pixels of the original image, location bins, and fractions of the image's sides.

A box is (x0, y0, x1, y1), left, top, right, bottom. Pixels count in the upright image (the camera's rotation applied),
as the model sees it. Everything here is float64: half-precision arithmetic would move a corner by up to half a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from narvl.data.tsv import read_number
from narvl.errors import DataError, UsageError

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxFrame:
    """Maps boxes to location bins and back.

    The image is resized to a square, its box with it; coordinates are divided by ``max_image_size``, multiplied by
    ``num_bins - 1`` and rounded.

    Attributes:
        image_size: side of the resized square, in pixels (``--patch-image-size``).
        max_image_size: the side that the bins span, in pixels (``--max-image-size``).
        num_bins: number of bins (``--num-bins``).
    """

    image_size: int
    max_image_size: int
    num_bins: int

    def __post_init__(self) -> None:
        if self.image_size > self.max_image_size:
            raise UsageError(
                f"--patch-image-size {self.image_size}: larger than --max-image-size {self.max_image_size}, the side "
                "that the location bins span. Raise --max-image-size."
            )
        if self.num_bins < 2:
            raise UsageError(f"--num-bins {self.num_bins}: boxes need at least 2 location bins (OFA has 1000).")

    def to_bins(self, box: Box, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the bins of a box.

        Args:
            box: in pixels of the original image; what lies outside is cut off.
            width: the original image's, in pixels.
            height: the original image's, in pixels.
        """
        return tuple(  # type: ignore[return-value]
            round(min(max(value / side, 0.0), 1.0) * self.image_size / self.max_image_size * (self.num_bins - 1))
            for value, side in zip(box, (width, height, width, height), strict=True)
        )

    def to_fractions(self, bins: Sequence[int]) -> Box:
        """Return the box of four bins as fractions of the image's width and height, 0 to 1."""
        x0, y0, x1, y1 = (
            min(index / (self.num_bins - 1) * self.max_image_size / self.image_size, 1.0) for index in bins
        )
        return x0, y0, x1, y1


def to_pixels(fractions: Box, width: int, height: int) -> Box:
    """Return a box of fractions in pixels of an image."""
    x0, y0, x1, y1 = fractions
    return x0 * width, y0 * height, x1 * width, y1 * height


def to_fractions(box: Box, width: int, height: int) -> Box:
    """Return a box of pixels in fractions of an image's width and height."""
    x0, y0, x1, y1 = box
    return x0 / width, y0 / height, x1 / width, y1 / height


def format_fractions(fractions: Box) -> str:
    """Write a box of fractions as generated text: four numbers, separated by blanks."""
    return " ".join(f"{value:.6f}" for value in fractions)


def parse_fractions(text: str) -> Box | None:
    """Read a box from generated text; None where the text is not four numbers, which counts as a wrong answer."""
    try:
        x0, y0, x1, y1 = map(read_number, text.split())
    except ValueError:
        return None
    return (x0, y0, x1, y1) if all(map(math.isfinite, (x0, y0, x1, y1))) else None


def parse_pixels(text: str) -> Box:
    """Read the box column of a TSV file: ``x0,y0,x1,y1`` in pixels of the original image.

    Raises:
        DataError: not four finite numbers, or the corners are in the wrong order.
    """
    try:
        x0, y0, x1, y1 = map(read_number, text.split(","))
    except ValueError:
        raise DataError(f"the box (column 4) is {text!r}. Write x0,y0,x1,y1 in pixels of the image.") from None
    if not (-1e9 < x0 <= x1 < 1e9 and -1e9 < y0 <= y1 < 1e9):
        raise DataError(f"the box (column 4) is {text!r}: its corners are not left, top, right, bottom. Reorder them.")
    return x0, y0, x1, y1
