"""The picture grid: text stays inside its card, marks have their colours, any image shape fits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor, ImageFont

from narvl.evaluation import grid
from narvl.evaluation.grid import RUNS, TRUTH, Caption, DrawnBox, Picture, draw_grid, wrap


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


@pytest.mark.parametrize(("right", "shown"), [(True, {"_TRUE"}), (False, {"_FALSE"}), (None, set())])
def test_marks(right, shown):
    image = draw_grid([Picture(Image.new("RGB", (8, 8), "blue"), [Caption("NARVL", "a dog", right)])], "scenes, test")
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


def pixels(picture):
    """Count each colour in the image of a card alone."""
    left, top = grid._GAP + grid._PADDING, grid._TITLE_SIZE + 2 * grid._GAP + grid._PADDING
    card = draw_grid([picture], "").crop((left, top, left + grid.SIDE, top + grid.SIDE))
    return {colour: number for number, colour in card.getcolors(maxcolors=1 << 24)}


def outline(boxes, size=(80, 80)):
    """Draw boxes on a green image and count the pixels of each of the boxes' colours."""
    found = pixels(Picture(Image.new("RGB", size, "#00ff00"), [], [DrawnBox(*box) for box in boxes]))
    return [found.get(ImageColor.getrgb(colour), 0) for colour in (TRUTH, *RUNS[:3])]


def test_boxes_are_drawn_at_their_place_in_their_colours():
    box = (20.0, 30.0, 60.0, 70.0)
    side = 40 / 80 * grid.SIDE
    truth, first, second, third = outline([(box, RUNS[0])])
    assert first == pytest.approx(4 * side * 3, rel=0.05)
    assert truth == second == third == 0
    assert outline([((10, 10, 20, 20), TRUTH), ((30, 30, 50, 50), RUNS[1])])[0] > 0


def test_equal_boxes_all_show():
    box = (20.0, 30.0, 60.0, 70.0)
    drawn = outline([(box, TRUTH), (box, RUNS[0]), (box, RUNS[1]), (box, RUNS[2])])
    assert all(number > 100 for number in drawn[1:])
    truth, first, _, _ = outline([(box, TRUTH), ((0.0, 0.0, 10.0, 10.0), RUNS[0])])
    assert truth > 0 and first > 0


@pytest.mark.parametrize("box", [(-50.0, -50.0, 500.0, 500.0), (79.0, 79.0, 80.0, 80.0), (5.0, 5.0, 5.001, 70.0)])
def test_boxes_at_and_over_the_edge(box):
    assert outline([(box, RUNS[0])])[1] > 0


def test_a_swatch_names_the_box_of_a_caption():
    def swatch(colour):
        image = draw_grid([Picture(Image.new("RGB", (8, 8)), [Caption("NARVL", "", None, colour)])], "x")
        return ImageColor.getrgb(RUNS[0]) in colours(image)

    assert swatch(RUNS[0]) and not swatch(None)
