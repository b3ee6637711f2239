"""Draws a grid of pictures with what models said about them, and the boxes that they drew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from narvl.data.boxes import Box

_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

SIDE = 320
_PADDING = 18
_GAP = 22
_TEXT_SIZE, _LABEL_SIZE, _TITLE_SIZE = 19, 15, 24
_LINE = 25
_MARK = 15

_PAGE, _CARD, _EDGE, _MAT = "#f3f4f6", "#ffffff", "#d7dae0", "#e9ebef"
_INK, _GREY = "#1b1f27", "#69707d"
_TRUE, _FALSE = "#1a8f4a", "#d0342c"

#: Colour of a true box; it is edged in black, to show on any image.
TRUTH = "#ffffff"
#: Colours of the runs' boxes, in turn (Okabe and Ito's palette, which the colour-blind can tell apart).
RUNS = ("#e69f00", "#56b4e9", "#cc79a7", "#009e73", "#f0e442", "#d55e00", "#0072b2")
_STROKE, _EDGED, _DASH = 3, 7, 9


@dataclass(frozen=True)
class Caption:
    """One text under a picture.

    Attributes:
        label: who said it, or what it is.
        text: what was said; may be empty.
        right: True draws a green tick, False a red cross, None no mark.
        colour: colour of the box that belongs to it; None where there is none.
    """

    label: str
    text: str
    right: bool | None = None
    colour: str | None = None


@dataclass(frozen=True)
class DrawnBox:
    """A box over a picture: in pixels of the image, with the colour of its line."""

    box: Box
    colour: str


@dataclass(frozen=True)
class Picture:
    """One picture of the grid: an RGB image of any size, the texts to stand under it, and the boxes to draw over it."""

    image: Image.Image
    captions: Sequence[Caption]
    boxes: Sequence[DrawnBox] = ()


def draw_grid(
    pictures: Sequence[Picture], title: str, marks: tuple[str, str] = ("right", "wrong"), columns: int = 4
) -> Image.Image:
    """Draw the pictures in rows, each above its captions.

    Args:
        pictures: one or more, in reading order.
        title: the heading.
        marks: what the tick and the cross mean.
        columns: pictures in a row, at most.

    Returns:
        An RGB image.
    """
    columns = min(columns, len(pictures))
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(_card_height(picture) for picture in row) for row in rows]
    card_width = SIDE + 2 * _PADDING
    width = columns * card_width + (columns + 1) * _GAP
    judged = any(caption.right is not None for picture in pictures for caption in picture.captions)
    # Two columns are wide enough for the title and the legend on one line.
    header = _TITLE_SIZE + (2 if columns > 1 or not judged else 4) * _GAP
    page = Image.new("RGB", (width, header + sum(heights) + len(rows) * _GAP), _PAGE)
    draw = ImageDraw.Draw(page)
    draw.text((_GAP, _GAP), title, fill=_INK, font=ImageFont.load_default(_TITLE_SIZE))
    if judged:
        _draw_legend(draw, marks, width - _GAP, header - _TITLE_SIZE - _GAP)
    top = header
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            left = _GAP + column * (card_width + _GAP)
            draw.rounded_rectangle((left, top, left + card_width, top + height), 10, fill=_CARD, outline=_EDGE)
            _draw_picture(page, picture, left + _PADDING, top + _PADDING)
        top += height + _GAP
    return page


def wrap(text: str, font: _Font, width: float) -> list[str]:
    """Break a text into lines no wider than ``width`` pixels, between words or, in a word too wide alone, inside it."""
    lines: list[str] = []
    for word in _breakable(text, font, width):
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _breakable(text: str, font: _Font, width: float) -> Iterator[str]:
    for word in text.split():
        piece = ""
        for letter in word:
            if piece and font.getlength(piece + letter) > width:
                yield piece
                piece = ""
            piece += letter
        yield piece


def _lines(caption: Caption) -> list[str]:
    return wrap(caption.text or "(empty)", ImageFont.load_default(_TEXT_SIZE), SIDE)


def _card_height(picture: Picture) -> int:
    text = sum(_LINE * (1 + len(_lines(caption))) + _PADDING // 2 for caption in picture.captions)
    return SIDE + 2 * _PADDING + _PADDING // 2 + text


def _draw_legend(draw: ImageDraw.ImageDraw, marks: tuple[str, str], right: float, top: float) -> None:
    font = ImageFont.load_default(_LABEL_SIZE)
    for tick, meaning in ((False, marks[1]), (True, marks[0])):
        right -= font.getlength(meaning)
        draw.text((right, top + 6), meaning, fill=_GREY, font=font)
        right -= _MARK + 8
        _draw_mark(draw, right, top + 7, tick)
        right -= _GAP


def _draw_picture(page: Image.Image, picture: Picture, left: int, top: int) -> None:
    draw = ImageDraw.Draw(page)
    image = _fit(picture.image)
    scale = (image.width / picture.image.width, image.height / picture.image.height)
    runs = 0
    for drawn in picture.boxes:
        runs += drawn.colour != TRUTH
        _draw_box(image, drawn, scale, sparseness=max(runs, 1))
    draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), fill=_MAT)
    page.paste(image, (left + (SIDE - image.width) // 2, top + (SIDE - image.height) // 2))
    y = top + SIDE + _PADDING // 2
    for caption in picture.captions:
        y += _PADDING // 2
        indent = 0
        if caption.right is not None:
            _draw_mark(draw, left, y + 3, caption.right)
            indent = _MARK + 8
        if caption.colour is not None:
            draw.rectangle((left + indent, y + 3, left + indent + _MARK, y + 3 + _MARK), caption.colour, "black")
            indent += _MARK + 8
        draw.text((left + indent, y + 1), caption.label, fill=_GREY, font=ImageFont.load_default(_LABEL_SIZE))
        y += _LINE
        for line in _lines(caption):
            ink = _INK if caption.text else _GREY
            draw.text((left, y), line, fill=ink, font=ImageFont.load_default(_TEXT_SIZE))
            y += _LINE


def _draw_box(image: Image.Image, drawn: DrawnBox, scale: tuple[float, float], sparseness: int) -> None:
    """Draw a box's outline over a scaled image; what lies outside is drawn at the edge.

    Args:
        image: is drawn on.
        drawn: the box, in pixels of the image before it was scaled.
        scale: by which width and height were multiplied.
        sparseness: 1 draws a whole line, n each nth dash of it: equal boxes, drawn ever sparser, all show.
    """
    draw = ImageDraw.Draw(image)
    sides = (image.width, image.height)
    x0, y0, x1, y1 = (
        min(max(round(value * scale[axis % 2]), 0), sides[axis % 2] - 1) for axis, value in enumerate(drawn.box)
    )
    edge = [("black", _EDGED)] if drawn.colour == TRUTH else []
    for colour, width in [*edge, (drawn.colour, _STROKE)]:
        for (left, top), (right, bottom) in pairwise(((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))):
            length = max(abs(right - left), abs(bottom - top))
            for start in range(0, length, _DASH * sparseness):
                ends = (start / length, min(start + _DASH, length) / length)
                points = [(left + (right - left) * end, top + (bottom - top) * end) for end in ends]
                draw.line(points, fill=colour, width=width)


def _draw_mark(draw: ImageDraw.ImageDraw, left: float, top: float, tick: bool) -> None:
    """Draw a tick or a cross on a coloured disc: the form tells them apart without the colour."""
    draw.ellipse((left, top, left + _MARK, top + _MARK), fill=_TRUE if tick else _FALSE)
    strokes = [[(0.26, 0.54), (0.44, 0.72), (0.76, 0.32)]]
    if not tick:
        strokes = [[(0.3, 0.3), (0.7, 0.7)], [(0.3, 0.7), (0.7, 0.3)]]
    for stroke in strokes:
        draw.line([(left + x * _MARK, top + y * _MARK) for x, y in stroke], fill="white", width=2)


def _fit(image: Image.Image) -> Image.Image:
    """Scale an image into a square of ``SIDE`` pixels, keeping its shape; small ones show their own pixels."""
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS)
