from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import Base as ExifTag
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT

from narvl.data.image import (
    FORMATS,
    decode_base64,
    decode_image,
    encode_base64,
    patch_transform,
    read_image,
    to_rgb,
    upright_size,
)
from narvl.errors import DataError


def encoded(image: Image.Image, **options: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, **({"format": "PNG"} | options))
    return encode_base64(stream.getvalue())


def pixels(image: Image.Image) -> list[Any]:
    return [image.getpixel((column, row)) for row in range(image.height) for column in range(image.width)]


class TestBase64:
    @given(data=st.binary(max_size=50))
    def test_both_alphabets_with_and_without_padding(self, data: bytes) -> None:
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(data).decode()
            assert decode_base64(text) == data
            assert decode_base64(text.rstrip("=")) == data
            assert decode_base64(f" {text}\r\n") == data
        assert decode_base64(encode_base64(data)) == data

    def test_ours_is_url_safe(self) -> None:
        assert encode_base64(b"\xfb\xff") == "-_8="

    @pytest.mark.parametrize("text", ["abc!", "a bc", "äöüß", "abcde", "ab=cd"])
    def test_anything_else(self, text: str) -> None:
        with pytest.raises(DataError, match="the image is not base64 .*; it begins with") as error:
            decode_base64(text)
        assert repr(text) in str(error.value)


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "colour", "expected"),
        [
            ("RGB", (10, 20, 30), (10, 20, 30)),
            ("L", 77, (77, 77, 77)),
            ("1", 1, (255, 255, 255)),
            ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
            ("RGBA", (10, 20, 30, 0), (255, 255, 255)),  # transparency lies over white
            ("RGBA", (0, 100, 200, 51), (204, 224, 244)),
            ("LA", (100, 0), (255, 255, 255)),
            ("I;16", 257 * 60, (60, 60, 60)),  # 16 bits are scaled, not cut
            ("I;16", 65535, (255, 255, 255)),
        ],
    )
    def test_png(self, mode: str, colour: Any, expected: tuple[int, int, int]) -> None:
        image = decode_image(encoded(Image.new(mode, (3, 2), colour)))
        assert (image.mode, image.size) == ("RGB", (3, 2))
        assert set(pixels(image)) == {expected}

    def test_palette(self) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([200, 10, 20, 30, 240, 50])
        image.putpixel((1, 0), 1)
        assert pixels(decode_image(encoded(image))) == [(200, 10, 20), (30, 240, 50)]

    def test_palette_with_a_transparent_colour(self) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([200, 10, 20, 30, 240, 50])
        image.putpixel((1, 0), 1)
        assert pixels(decode_image(encoded(image, transparency=0))) == [(255, 255, 255), (30, 240, 50)]

    def test_rgb_with_a_transparent_colour(self) -> None:
        image = Image.new("RGB", (2, 1), (1, 2, 3))
        image.putpixel((1, 0), (9, 9, 9))
        assert pixels(decode_image(encoded(image, transparency=(1, 2, 3)))) == [(255, 255, 255), (9, 9, 9)]

    def test_cmyk_jpeg(self) -> None:
        image = decode_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), format="JPEG", quality=95))
        assert image.mode == "RGB"
        red, green, blue = pixels(image)[0]
        assert red > 240 and green < 15 and blue < 15

    @pytest.mark.parametrize("format", ["BMP", "GIF", "WEBP"])
    def test_other_formats(self, format: str) -> None:
        image = decode_image(encoded(Image.new("RGB", (4, 4), (0, 0, 255)), format=format))
        assert image.mode == "RGB"
        np.testing.assert_allclose(pixels(image)[0], (0, 0, 255), atol=3)

    @pytest.mark.parametrize(
        ("orientation", "corner"), [(1, "top left"), (3, "bottom right"), (6, "top right"), (8, "bottom left")]
    )
    def test_the_camera_s_rotation_is_applied(self, orientation: int, corner: str) -> None:
        image = Image.new("RGB", (32, 16))
        image.paste((255, 255, 255), (0, 0, 8, 8))  # top left, as stored
        exif = Image.Exif()
        exif[ExifTag.Orientation] = orientation
        shown = decode_image(encoded(image, format="JPEG", quality=95, exif=exif))
        assert shown.size == ((32, 16) if orientation in (1, 3) else (16, 32))
        column = 2 if "left" in corner else shown.width - 3
        row = 2 if "top" in corner else shown.height - 3
        assert min(shown.getpixel((column, row))) > 200
        assert max(shown.getpixel((shown.width - 1 - column, shown.height - 1 - row))) < 50

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("place", ["exif", "xmp"])
    @pytest.mark.parametrize("format", FORMATS)
    def test_the_size_is_told_without_decoding(self, format: str, place: str, orientation: int) -> None:
        """Formats without a place for the rotation are saved without it."""
        exif = Image.Exif()
        exif[ExifTag.Orientation] = orientation
        xmp = f'<rdf:Description tiff:Orientation="{orientation}"/>'.encode()
        rotation: dict[str, Any] = (
            {"exif": exif} if place == "exif" else {"xmp": xmp, "tiffinfo": {ExifTag.XMLPacket: xmp}}
        )
        text = encoded(Image.new("RGB", (32, 16)), format=format, **rotation)
        assert upright_size(text) == decode_image(text).size
        if format in ("JPEG", "TIFF"):
            assert upright_size(text) == ((32, 16) if orientation < 5 else (16, 32))

    def test_the_argument_is_left_alone(self) -> None:
        image = Image.new("RGBA", (2, 2), (1, 2, 3, 4))
        to_rgb(image)
        assert image.mode == "RGBA" and image.getpixel((0, 0)) == (1, 2, 3, 4)


class TestDepth:
    @pytest.mark.parametrize("byte_order", "<>")
    def test_16_bits_of_grey(self, byte_order: str) -> None:
        image = Image.new("I;16B" if byte_order == ">" else "I;16", (3, 2), 257 * 60)
        assert set(pixels(decode_image(encoded(image, format="TIFF")))) == {(60, 60, 60)}

    @pytest.mark.parametrize("compression", [None, "tiff_lzw"])
    @pytest.mark.parametrize("orientation", [1, 6])
    @pytest.mark.parametrize(("mode", "value", "shade"), [("1", 1, 0), ("L", 60, 195), ("I;16", 257 * 60, 195)])
    def test_tiffs_whose_white_is_0(
        self, mode: str, value: int, shade: int, orientation: int, compression: str | None
    ) -> None:
        """pillow itself turns 1 and 8 bits round, and not 16."""
        image = Image.new(mode, (3, 2), value)
        written = {"tiffinfo": {ExifTag.Orientation: orientation}, "compression": compression}
        tiff = decode_base64(encoded(image, format="TIFF", **written))
        black, white = (struct.pack("<HHIH", PHOTOMETRIC_INTERPRETATION, 3, 1, zero) for zero in (1, 0))
        assert tiff.count(black) == 1
        assert set(pixels(decode_image(encode_base64(tiff.replace(black, white))))) == {(shade,) * 3}

    @pytest.mark.parametrize("mode", ["1", "L", "I;16"])
    def test_grey_tiffs_that_do_not_say_what_0_is(self, mode: str) -> None:
        tiff = decode_base64(encoded(Image.new(mode, (3, 2)), format="TIFF"))
        known = struct.pack("<HHI", PHOTOMETRIC_INTERPRETATION, 3, 1)
        assert tiff.count(known) == 1
        unknown = tiff.replace(known, struct.pack("<HHI", 60_000, 3, 1))
        for read in (decode_image, upright_size):
            with pytest.raises(DataError, match="the image has samples without a photometric interpretation: .* PNG"):
                read(encode_base64(unknown))

    @pytest.mark.parametrize("value", [0.5, 255.0, float("nan"), float("inf")])
    @pytest.mark.parametrize("format", ["TIFF", "PPM"])
    def test_floating_point_numbers_have_no_white(self, format: str, value: float) -> None:
        with pytest.raises(DataError, match=r"the image has floating-point samples: .* 8 or 16 bits a channel"):
            decode_image(encoded(Image.new("F", (3, 2), value), format=format))

    @pytest.mark.parametrize(
        ("bits", "kind", "found"),
        [(12, 1, "12-bit"), (16, 2, "signed 16-bit"), (32, 1, "32-bit"), (32, 2, "signed 32-bit")],
    )
    def test_nor_have_other_depths(self, bits: int, kind: int, found: str) -> None:
        def entry(tag: int, value: int) -> bytes:
            return struct.pack("<HHIHH", tag, 3, 1, value, 0)

        image = Image.new("I;16", (3, 2), 200)
        tiff = decode_base64(encoded(image, format="TIFF", tiffinfo={SAMPLEFORMAT: 2}))
        for tag, old, new in ((BITSPERSAMPLE, 16, bits), (SAMPLEFORMAT, 2, kind)):
            assert entry(tag, old) in tiff
            tiff = tiff.replace(entry(tag, old), entry(tag, new))
        with pytest.raises(DataError, match=f"the image has {found} samples: "):
            upright_size(encode_base64(tiff))


class TestBadImages:
    @pytest.mark.parametrize("format", ["JPEG", "PNG"])
    def test_truncated(self, format: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        data = decode_base64(encoded(Image.fromarray(noise), format=format))
        with pytest.raises(DataError, match="the image cannot be decoded .* truncated or damaged"):
            decode_image(encode_base64(data[: len(data) // 2]))

    @pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG", b"\xff\xd8\xff"])
    def test_no_image(self, data: bytes) -> None:
        with pytest.raises(DataError, match="the image (is in no format that is read here|cannot be decoded)"):
            decode_image(encode_base64(data))

    def test_files_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"photo\.jpg: no such image file"):
            read_image(tmp_path / "photo.jpg")
        (tmp_path / "photo.jpg").write_text("text")
        with pytest.raises(DataError, match=r"photo\.jpg is in no format that is read here"):
            read_image(tmp_path / "photo.jpg")

    def test_a_good_file(self, tmp_path: Path) -> None:
        Image.new("L", (5, 4), 9).save(tmp_path / "photo.png")
        assert pixels(read_image(tmp_path / "photo.png"))[0] == (9, 9, 9)


def png_of(width: int, height: int) -> str:
    """A small PNG that claims a size; black as far as a megabyte of zeros goes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(min((1 + (width + 7) // 8) * height, 1 << 20))))
    return encode_base64(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))


class TestHostileImages:
    @pytest.mark.parametrize("size", [(13_000, 13_000), (65_536, 4), (4, 65_536), (30_000, 30_000), (2**31 - 1, 1)])
    def test_large_ones_are_refused_before_they_are_decoded(
        self, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ImageFile, "load", lambda self: pytest.fail("decoded"))
        for read in (decode_image, upright_size):
            with pytest.raises(DataError, match="is .* pixels; at most 89,478,485 are read|cannot be decoded"):
                read(png_of(*size))

    def test_long_ones_are_read(self) -> None:
        assert upright_size(png_of(65_535, 1)) == (65_535, 1)
        assert decode_image(png_of(1, 65_535)).size == (1, 65_535)

    @pytest.mark.parametrize("size", [(0, 4), (4, 0), (0, 0)])
    def test_nothing_to_see(self, size: tuple[int, int]) -> None:
        with pytest.raises(DataError, match="the image"):
            decode_image(png_of(*size))

    def test_formats_that_start_other_programs_are_not_read(self) -> None:
        with pytest.raises(DataError, match="in no format that is read here"):
            decode_image(encoded(Image.new("RGB", (4, 4)), format="EPS"))

    @pytest.mark.parametrize(
        "error", [struct.error("x"), KeyError("x"), MemoryError(), OverflowError("x"), AttributeError("x"), EOFError()]
    )
    @pytest.mark.parametrize("method", ["load", "getexif"])
    def test_whatever_pillow_raises_has_a_name(
        self, error: Exception, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(self: Image.Image) -> None:
            raise error

        text = encoded(Image.new("RGB", (4, 4)))
        monkeypatch.setattr(PngImageFile, method, fail)
        with pytest.raises(DataError, match="the image cannot be decoded"):
            decode_image(text) if method == "load" else upright_size(text)


class TestTransform:
    @pytest.mark.parametrize("size", [32, 480])
    @pytest.mark.parametrize("shape", [(64, 64), (97, 31), (1, 1)])
    def test_a_square_of_values_from_minus_one_to_one(self, size: int, shape: tuple[int, int]) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
        tensor = patch_transform(size)(Image.fromarray(noise))
        assert (tensor.shape, tensor.dtype) == ((3, size, size), torch.float32)
        assert -1 <= float(tensor.min()) <= float(tensor.max()) <= 1

    @pytest.mark.parametrize(
        ("colour", "expected"), [((0, 0, 0), (-1, -1, -1)), ((255, 255, 255), (1, 1, 1)), ((255, 0, 51), (1, -1, -0.6))]
    )
    def test_colours(self, colour: tuple[int, int, int], expected: tuple[float, float, float]) -> None:
        tensor = patch_transform(32)(Image.new("RGB", (40, 20), colour))
        torch.testing.assert_close(tensor, torch.tensor(expected).view(3, 1, 1).expand(3, 32, 32).float())

    def test_resizing_is_bicubic(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (50, 30, 3), dtype=np.uint8)
        expected = np.asarray(Image.fromarray(noise).resize((32, 32), Image.Resampling.BICUBIC))
        tensor = patch_transform(32)(Image.fromarray(noise))
        np.testing.assert_allclose((tensor.permute(1, 2, 0).numpy() + 1) * 127.5, expected, atol=1e-3)
