"""Image columns: files of every mode and format, damaged ones, headers that claim anything, and bad base64."""

from __future__ import annotations

import base64
import functools
import io
import struct
import zlib

from hypothesis import strategies as st
from PIL import Image

from fuzzing.damage import damaged

_MODES = ("1", "L", "P", "PA", "LA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "ICO", "TGA", "PCX", "EPS", "PDF", "MPO")
_SIZES = ((64, 48), (3, 5), (1, 1), (1, 10_000), (10_000, 1), (300, 200))
_SIDES = (0, 1, 2, 7, 9_000, 13_000, 65_535, 65_536, 100_000, 2**31 - 1, 2**31, 2**32 - 1)
_ORIENTATION = 0x0112


@functools.lru_cache(maxsize=512)
def encode(mode: str, size: tuple[int, int], form: str, frames: int = 1, orientation: int = 1) -> bytes:
    """Write an image file; where a format does not take a mode, in RGB."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    more = {"save_all": True, "append_images": [Image.new(mode, size)] * (frames - 1)} if frames > 1 else {}
    for kind, options in ((mode, {"exif": exif, **more}), (mode, more), ("RGB", {}), ("L", {})):
        file = io.BytesIO()
        try:
            Image.new(kind, size, 1).save(file, form, **options)
        except Exception:  # not every format takes every mode, size and option
            continue
        return file.getvalue()
    return b""


GOOD = encode("RGB", (64, 48), "PNG")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@functools.lru_cache(maxsize=256)
def claim(form: str, width: int, height: int, depth: int, colour: int) -> bytes:
    """Write a file that claims a size, with the pixels of a black image as far as a few megabytes of zeros go."""
    if form == "PNG":
        row = 1 + (width * depth + 7) // 8
        pixels = zlib.compress(bytes(min(row * height, 1 << 24)), 9)
        header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
        chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + chunks
    if form == "GIF":
        small = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
        return b"GIF89a" + small + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + small + b"\0\x02\x02L\x01\0;"
    if form == "BMP":
        header = struct.pack("<IIIHHIIIIII", 40, width, height, 1, depth, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + bytes(64)
    if form == "TIFF":
        tags = {256: width, 257: height, 258: depth, 259: 1, 262: colour & 3, 273: 8, 278: height, 279: 64}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        return b"II*\0" + struct.pack("<I", 72) + bytes(64) + struct.pack("<H", len(tags)) + entries + bytes(4)
    return f"P6 {width} {height} {depth}\n".encode() + bytes(64)


@functools.lru_cache(maxsize=1)
def text_bomb() -> bytes:
    """Write a PNG with a comment that unpacks to 64 megabytes."""
    comment = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 26), 9))
    return GOOD[:33] + comment + GOOD[33:]


def files() -> st.SearchStrategy[bytes]:
    """Draw the bytes of an image file."""
    whole = st.builds(
        encode,
        st.sampled_from(_MODES),
        st.sampled_from(_SIZES),
        st.sampled_from(_FORMATS),
        st.sampled_from((1, 1, 3)),
        st.sampled_from((0, 1, 3, 6, 8, 9, 65_535)),
    )
    sides = st.sampled_from(_SIDES)
    claims = st.builds(
        claim,
        st.sampled_from(("PNG", "PNG", "GIF", "BMP", "TIFF", "PPM")),
        sides,
        sides,
        st.sampled_from((1, 8, 16, 24, 32, 255)),
        st.sampled_from((0, 2, 3, 4, 6, 7)),
    )
    good = st.just(GOOD)
    noise = st.one_of(st.binary(max_size=64), st.builds(text_bomb))
    return st.one_of(good, good, whole, damaged(whole), damaged(good), claims, damaged(claims), noise)


def columns_of(data: bytes) -> str:
    """Write a file as an image column."""
    return base64.urlsafe_b64encode(data).decode()


def columns() -> st.SearchStrategy[str]:
    """Draw an image column: mostly base64."""

    def write(data: bytes, style: str) -> str:
        text = columns_of(data)
        match style:
            case "standard":
                return base64.b64encode(data).decode()
            case "unpadded":
                return text.rstrip("=")
            case "blanks":
                return f" {text} \r"
            case "broken":
                return "\u72ac ".join((text[:9], text[9:]))
            case "hex":
                return data[:200].hex()
        return text

    styles = st.sampled_from(("urlsafe", "urlsafe", "urlsafe", "standard", "unpadded", "blanks", "broken", "hex"))
    return st.builds(write, files(), styles)
