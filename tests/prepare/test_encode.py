"""Image files of every kind become the RGB picture that a viewer shows."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base as ExifTag
from PIL.PngImagePlugin import PngImageFile

from narvl.data.image import decode_base64, decode_image
from narvl.errors import DataError
from narvl.prepare.encode import encode_image, map_in_order

SIDE = 32
Save = Callable[[Path], None]


def gradient() -> Image.Image:
    """A smooth picture with a distinct corner (so that rotations show), which JPEG keeps within a few levels."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] * (160 / SIDE)
    return Image.fromarray(np.stack([40 + x, 40 + y, 200 - (x + y) / 2], axis=-1).astype(np.uint8))


def grey() -> Image.Image:
    return gradient().convert("L")


def as_rgba() -> tuple[Image.Image, np.ndarray]:
    """A picture whose left half is fully transparent, and what it looks like over white."""
    image = gradient().convert("RGBA")
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:, : SIDE // 2] = 0
    image.putalpha(Image.fromarray(alpha))
    shown = np.asarray(gradient()).copy()
    shown[:, : SIDE // 2] = 255
    return image, shown


def pixels(text: str) -> np.ndarray:
    return np.asarray(decode_image(text), dtype=np.int64)


def assert_close(got: np.ndarray, want: np.ndarray, tolerance: float = 3.0) -> None:
    assert got.shape == want.shape
    assert np.abs(got - want.astype(np.int64)).mean() <= tolerance


COPIED = {
    "rgb.jpg": lambda path: gradient().save(path, quality=95),
    "progressive.jpg": lambda path: gradient().save(path, quality=95, progressive=True),
    "grey.jpg": lambda path: grey().save(path, quality=95),
    "rgb.png": lambda path: gradient().save(path),
    "grey.png": lambda path: grey().save(path),
    "one_pixel.jpg": lambda path: gradient().crop((0, 0, 1, 1)).save(path),
}


@pytest.mark.parametrize("name", COPIED)
def test_plain_files_are_copied_byte_for_byte(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    COPIED[name](path)
    encoded = encode_image(path)
    assert not encoded.converted
    assert decode_base64(encoded.text) == path.read_bytes()
    assert (pixels(encoded.text) == np.asarray(Image.open(path).convert("RGB"))).all()


def save_palette_with_transparency(path: Path) -> None:
    image = gradient().quantize(64)
    image.paste(63, (0, 0, SIDE // 2, SIDE))
    image.save(path, transparency=63)


def save_grey_with_transparent_level(path: Path) -> None:
    image = grey()
    image.paste(7, (0, 0, SIDE // 2, SIDE))
    image.save(path, transparency=7)


def half_white(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    image[:, : SIDE // 2] = 255
    return image


RGB = np.asarray(gradient())
GREY = np.asarray(grey().convert("RGB"))
CONVERTED: dict[str, tuple[Save, np.ndarray]] = {
    "palette.png": (lambda path: gradient().quantize(256).save(path), RGB),
    "palette_transparent.png": (save_palette_with_transparency, half_white(RGB)),
    "rgba.png": (lambda path: as_rgba()[0].save(path), half_white(RGB)),
    "grey_alpha.png": (lambda path: as_rgba()[0].convert("LA").save(path), half_white(GREY)),
    "grey_transparent.png": (save_grey_with_transparent_level, half_white(GREY)),
    "cmyk.jpg": (lambda path: gradient().convert("CMYK").save(path, quality=95), RGB),
    "grey_16_bit.png": (lambda path: Image.fromarray(np.asarray(grey()).astype(np.uint16) * 257).save(path), GREY),
    "bilevel.png": (
        lambda path: Image.fromarray(np.asarray(grey()) > 120).save(path),
        np.repeat(np.where(np.asarray(grey()) > 120, 255, 0)[..., None], 3, axis=-1),
    ),
    "rgb.gif": (lambda path: gradient().save(path), RGB),
    "rgb.webp": (lambda path: gradient().save(path, lossless=True), RGB),
    "rgb.bmp": (lambda path: gradient().save(path), RGB),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_other_files_become_an_rgb_jpeg_of_the_same_picture(tmp_path: Path, name: str) -> None:
    save, shown = CONVERTED[name]
    path = tmp_path / name
    save(path)
    encoded = encode_image(path)
    assert encoded.converted
    stored = Image.open(io.BytesIO(decode_base64(encoded.text)))
    assert (stored.format, stored.mode) == ("JPEG", "RGB")
    # Sharp edges (half transparent, bilevel) ring in JPEG, palettes and CMYK round.
    assert_close(pixels(encoded.text), shown, tolerance=5.0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_camera_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = gradient().crop((0, 0, SIDE, SIDE // 2))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[ExifTag.Orientation] = orientation
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    stored.save(tmp_path / "photo.jpg", quality=95, exif=exif)
    encoded = encode_image(tmp_path / "photo.jpg")
    assert encoded.converted == (orientation != 1)
    assert encoded.original_size == encoded.size == upright.size
    assert_close(pixels(encoded.text), np.asarray(upright))


def test_16_bit_rgb_png_is_converted(tmp_path: Path) -> None:
    # pillow writes no 16-bit RGB: patch an 8-bit file's rows and header by hand.
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + (RGB[y].astype(">u2") * 257).astype(">u2").tobytes() for y in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    encoded = encode_image(path)
    assert encoded.converted
    assert_close(pixels(encoded.text), RGB)


def test_max_side_scales_down_and_only_down(tmp_path: Path) -> None:
    wide = gradient().resize((80, 40))
    wide.save(tmp_path / "wide.png")
    small = encode_image(tmp_path / "wide.png", max_side=20)
    assert small.converted
    assert decode_image(small.text).size == small.size == (20, 10)
    assert small.original_size == (80, 40)
    assert_close(pixels(small.text), np.asarray(wide.resize((20, 10), Image.Resampling.LANCZOS)))
    assert not encode_image(tmp_path / "wide.png", max_side=80).converted


def test_max_side_measures_the_picture_as_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTag.Orientation] = 6
    gradient().resize((80, 40)).save(tmp_path / "photo.jpg", exif=exif)
    assert decode_image(encode_image(tmp_path / "photo.jpg", max_side=20).text).size == (10, 20)


@pytest.mark.parametrize("name", ["rgb.jpg", "progressive.jpg", "rgb.png", "rgba.png", "palette.png"])
def test_truncated_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (COPIED[name] if name in COPIED else CONVERTED[name][0])(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(DataError, match=f"{name} cannot be decoded .* truncated or damaged"):
        encode_image(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", " is in no format"), (b"not an image at all", " is in no format"), (None, ": no such image file")],
)
def test_files_that_are_no_image_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"photo.jpg{message}"):
        encode_image(path)


def test_whatever_pillow_raises_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "photo.png")

    def fail(self: Image.Image) -> None:
        raise KeyError("palette")

    monkeypatch.setattr(PngImageFile, "load", fail)
    with pytest.raises(DataError, match="photo.png cannot be decoded"):
        encode_image(tmp_path / "photo.png")


def test_map_in_order_keeps_the_order_and_the_errors() -> None:
    def invert(value: int) -> float:
        return 1 / value

    results = list(map_in_order(invert, [4, 2, 0, 1], workers=3))
    assert [item for item, _ in results] == [4, 2, 0, 1]
    assert [future.result() for item, future in results if item] == [0.25, 0.5, 1.0]
    assert isinstance(results[2][1].exception(), ZeroDivisionError)


def test_map_in_order_works_in_parallel_and_reads_ahead_only_a_little() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 1000:
            taken += 1
            yield taken

    both = threading.Barrier(2, timeout=120)  # passes only if two calls run at the same time

    def meet(item: int) -> int:
        both.wait()
        return item

    results = map_in_order(meet, items(), workers=2)
    for expected in range(1, 11):
        assert next(results)[1].result() == expected
    assert taken < 30
    both.abort()
    results.close()
