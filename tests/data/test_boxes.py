from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from narvl.data.boxes import BoxFrame, format_fractions, parse_fractions, parse_pixels, to_fractions, to_pixels
from narvl.errors import DataError, UsageError

PAPER = BoxFrame(image_size=512, max_image_size=512, num_bins=1000)


def test_a_worked_example() -> None:
    # 320 of 640 pixels is the middle: 0.5 * 999 = 499.5, which rounds to the even 500.
    assert PAPER.to_bins((0, 120, 320, 480), 640, 480) == (0, 250, 500, 999)
    assert PAPER.to_fractions([0, 250, 500, 999]) == pytest.approx((0, 250 / 999, 500 / 999, 1))
    # A resized image of 480 pixels fills 480/512 of the bins.
    assert BoxFrame(480, 512, 1000).to_bins((0, 0, 640, 480), 640, 480) == (0, 0, 937, 937)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[float, float, float, float], int, int]:
    width, height = draw(st.integers(1, 10_000)), draw(st.integers(1, 10_000))
    xs = sorted(draw(st.lists(st.floats(0, width), min_size=2, max_size=2)))
    ys = sorted(draw(st.lists(st.floats(0, height), min_size=2, max_size=2)))
    return (xs[0], ys[0], xs[1], ys[1]), width, height


@given(
    boxes(),
    st.sampled_from([(512, 512, 1000), (480, 512, 1000), (64, 64, 64), (500, 500, 7)]),
)
@example(((0.0, 0.0, 0.0, 0.0), 3, 4000), (512, 512, 1000))
def test_the_way_to_bins_and_back_costs_half_a_bin(
    case: tuple[tuple[float, float, float, float], int, int], sizes: tuple[int, int, int]
) -> None:
    box, width, height = case
    frame = BoxFrame(*sizes)
    text = format_fractions(frame.to_fractions(frame.to_bins(box, width, height)))
    fractions = parse_fractions(text)
    assert fractions is not None
    back = to_pixels(fractions, width, height)
    half_a_bin = 0.5 / (frame.num_bins - 1) * frame.max_image_size / frame.image_size
    for value, again, side in zip(box, back, (width, height, width, height), strict=True):
        assert abs(again - value) <= (half_a_bin + 1e-6) * side


def test_what_lies_outside_is_cut_off() -> None:
    assert PAPER.to_bins((-5, -5, 700, 500), 640, 480) == (0, 0, 999, 999)
    # Bins beyond the resized image (480 of 512 pixels) are its edge.
    assert BoxFrame(480, 512, 1000).to_fractions([0, 0, 999, 937])[2] == 1.0


def test_fractions_are_their_own_frame() -> None:
    assert to_fractions((10, 20, 30, 40), 100, 200) == (0.1, 0.1, 0.3, 0.2)
    assert to_pixels((0.1, 0.1, 0.3, 0.2), 100, 200) == pytest.approx((10, 20, 30, 40))


@pytest.mark.parametrize(
    "text", ["", "1 2 3", "1 2 3 4 5", "<bin_1> <bin_2> <bin_3> <bin_4>", "nan 0 1 1", "0 0 inf 1"]
)
def test_no_box(text: str) -> None:
    assert parse_fractions(text) is None


def test_frames_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="--patch-image-size 600: larger than --max-image-size 512"):
        BoxFrame(600, 512, 1000)
    with pytest.raises(UsageError, match="--num-bins 0"):
        BoxFrame(512, 512, 0)


def test_the_box_column() -> None:
    assert parse_pixels("1,2.5,30,40") == (1, 2.5, 30, 40)
    assert parse_pixels(" +1.,.5, 3e1 ,40") == (1, 0.5, 30, 40)
    for text in (
        "1,2,3",
        "1,2,3,x",
        "nan,0,1,1",
        "0,0,inf,1",
        "",
        "0,0,1_0,10",
        "0,0,１０,10",
        "0,0,1e400,1",
        "0,0,.,1",
    ):
        with pytest.raises(DataError, match=r"the box \(column 4\)"):
            parse_pixels(text)
    with pytest.raises(DataError, match="not left, top, right, bottom"):
        parse_pixels("30,2,1,40")
