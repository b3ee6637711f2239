"""The picture grid: text stays inside its card, marks have their colours, any image shape fits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor, ImageFont

from narvl.evaluation import grid
from narvl.evaluation.grid import Caption, Picture, draw_grid, wrap


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("abcmW", min_size=1, max_size=60), max_size=12))
def test_wrap_keeps_all_letters_and_the_width(words):
    font = ImageFont.load_default(19)
    lines = wrap(" ".join(words), font, 200)
    assert all(font.getlength(line) <= 200 for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(words)


def test_wrap_breaks_between_words():
    font = ImageFont.load_default(19)
    assert wrap("one two three four", font, font.getlength("one two") + 1) == ["one two", "three", "four"]
    assert wrap("", font, 100) == []


def colours(image):
    return {colour for _, colour in image.getcolors(maxcolors=1 << 24)}


@pytest.mark.parametrize(("faithful", "shown"), [(True, {"_TRUE"}), (False, {"_FALSE"}), (None, set())])
def test_marks(faithful, shown):
    image = draw_grid(
        [Picture(Image.new("RGB", (8, 8), "blue"), [Caption("NARVL", "a dog", faithful)])], "scenes, test"
    )
    # Below the heading, whose legend shows both marks.
    card = colours(image.crop((0, grid.SIDE, image.width, image.height)))
    assert {name for name in ("_TRUE", "_FALSE") if ImageColor.getrgb(getattr(grid, name)) in card} == shown


def test_rows_and_columns():
    pictures = [Picture(Image.new("RGB", (64, 64)), [Caption("NARVL", "a dog")])] * 5
    one_row, two_rows = draw_grid(pictures[:4], "x"), draw_grid(pictures, "x")
    assert two_rows.width == one_row.width
    assert two_rows.height > one_row.height + grid.SIDE
    assert draw_grid(pictures[:1], "x").width < one_row.width / 3


def test_a_longer_caption_makes_a_higher_card():
    def height(text):
        return draw_grid([Picture(Image.new("RGB", (64, 64)), [Caption("NARVL", text)])], "x").height

    assert height("") == height("a dog") < height("a dog " * 30)


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (1000, 10), (10, 1000), (500, 375)])
def test_images_keep_their_shape(size):
    image = draw_grid([Picture(Image.new("RGB", size, "#ff00ff"), [Caption("NARVL", "")])], "x")
    pixels = image.getcolors(maxcolors=1 << 24)
    count = sum(number for number, colour in pixels if colour == (255, 0, 255))
    assert count == pytest.approx(grid.SIDE**2 * min(size) / max(size), rel=0.1)
