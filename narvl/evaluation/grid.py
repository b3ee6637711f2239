"""Draws a grid of pictures with the captions that models gave them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

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


@dataclass(frozen=True)
class Caption:
    """One caption under a picture.

    Attributes:
        label: who said it.
        text: what was said; may be empty.
        faithful: True draws a green tick, False a red cross, None no mark.
    """

    label: str
    text: str
    faithful: bool | None = None


@dataclass(frozen=True)
class Picture:
    """One picture of the grid: an RGB image of any size, and the captions to stand under it."""

    image: Image.Image
    captions: Sequence[Caption]


def draw_grid(pictures: Sequence[Picture], title: str, columns: int = 4) -> Image.Image:
    """Draw the pictures in rows, each above its captions.

    Args:
        pictures: one or more, in reading order.
        title: the heading.
        columns: pictures in a row, at most.

    Returns:
        An RGB image.
    """
    columns = min(columns, len(pictures))
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(_card_height(picture) for picture in row) for row in rows]
    card_width = SIDE + 2 * _PADDING
    width = columns * card_width + (columns + 1) * _GAP
    judged = any(caption.faithful is not None for picture in pictures for caption in picture.captions)
    # Two columns are wide enough for the title and the legend on one line.
    header = _TITLE_SIZE + (2 if columns > 1 or not judged else 4) * _GAP
    page = Image.new("RGB", (width, header + sum(heights) + len(rows) * _GAP), _PAGE)
    draw = ImageDraw.Draw(page)
    draw.text((_GAP, _GAP), title, fill=_INK, font=ImageFont.load_default(_TITLE_SIZE))
    if judged:
        _draw_legend(draw, width - _GAP, header - _TITLE_SIZE - _GAP)
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


def _draw_legend(draw: ImageDraw.ImageDraw, right: float, top: float) -> None:
    font = ImageFont.load_default(_LABEL_SIZE)
    for faithful, meaning in ((False, "false or no sentence"), (True, "every statement true")):
        right -= font.getlength(meaning)
        draw.text((right, top + 6), meaning, fill=_GREY, font=font)
        right -= _MARK + 8
        _draw_mark(draw, right, top + 7, faithful)
        right -= _GAP


def _draw_picture(page: Image.Image, picture: Picture, left: int, top: int) -> None:
    draw = ImageDraw.Draw(page)
    image = _fit(picture.image)
    draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), fill=_MAT)
    page.paste(image, (left + (SIDE - image.width) // 2, top + (SIDE - image.height) // 2))
    y = top + SIDE + _PADDING // 2
    for caption in picture.captions:
        y += _PADDING // 2
        indent = 0
        if caption.faithful is not None:
            _draw_mark(draw, left, y + 3, caption.faithful)
            indent = _MARK + 8
        draw.text((left + indent, y + 1), caption.label, fill=_GREY, font=ImageFont.load_default(_LABEL_SIZE))
        y += _LINE
        for line in _lines(caption):
            ink = _INK if caption.text else _GREY
            draw.text((left, y), line, fill=ink, font=ImageFont.load_default(_TEXT_SIZE))
            y += _LINE


def _draw_mark(draw: ImageDraw.ImageDraw, left: float, top: float, faithful: bool) -> None:
    """Draw a tick or a cross on a coloured disc: the form tells them apart without the colour."""
    draw.ellipse((left, top, left + _MARK, top + _MARK), fill=_TRUE if faithful else _FALSE)
    strokes = [[(0.26, 0.54), (0.44, 0.72), (0.76, 0.32)]]
    if not faithful:
        strokes = [[(0.3, 0.3), (0.7, 0.7)], [(0.3, 0.7), (0.7, 0.3)]]
    for stroke in strokes:
        draw.line([(left + x * _MARK, top + y * _MARK) for x, y in stroke], fill="white", width=2)


def _fit(image: Image.Image) -> Image.Image:
    """Scale an image into a square of ``SIDE`` pixels, keeping its shape; small ones show their own pixels."""
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS)
