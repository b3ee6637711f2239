"""Image files as a TSV file's image column: copied as they are where every reader agrees on them, else converted."""

from __future__ import annotations

import collections
import io
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image
from PIL.ExifTags import Base as ExifTag

from narvl.data.image import encode_base64, open_image, shown_size, to_rgb
from narvl.errors import DataError

JPEG_QUALITY = 95

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Byte 24 of a PNG file: bits a sample (the IHDR chunk always comes first). pillow does not tell.
_PNG_BIT_DEPTH = 24


@dataclass(frozen=True)
class EncodedImage:
    """An image as the TSV file holds it.

    Args:
        text: the file's bytes in URL-safe base64.
        converted: whether the image was encoded anew (False: the bytes are the original file's).
        original_size: width and height of the file's image, upright (the camera's rotation applied), in pixels.
        size: width and height of the image in ``text``; smaller where it was scaled down.
    """

    text: str
    converted: bool
    original_size: tuple[int, int]
    size: tuple[int, int]


def encode_image(path: Path, max_side: int | None = None) -> EncodedImage:
    """Read an image file, check that it decodes, and encode it for a TSV file.

    A JPEG or PNG in 8-bit RGB or grey, without a camera rotation, is copied byte for byte. Anything else (palette,
    alpha, CMYK, 16 bits, rotated, other formats, larger than ``max_side``) becomes an RGB JPEG.

    Args:
        path: the file, of one of ``narvl.data.image.FORMATS``.
        max_side: the longest side allowed in pixels; a larger image is scaled down. None: any size.

    Raises:
        DataError: the file is missing, is no image, is truncated or too large.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image file.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    with open_image(io.BytesIO(data), str(path)) as image:
        size = shown_size(image)
        if _can_be_copied(image, data, max_side):
            # Decoded only to find damage; a JPEG in 1/8 of its size, which reads every byte in a third of the time.
            image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
            return EncodedImage(encode_base64(data), converted=False, original_size=size, size=size)
        if max_side is not None:
            image.draft(None, (2 * max_side, 2 * max_side))  # a JPEG is decoded at reduced size, in less time
        image.load()
        rgb = to_rgb(image)
        if max_side is not None and max(rgb.size) > max_side:
            rgb.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        rgb.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return EncodedImage(encode_base64(buffer.getvalue()), converted=True, original_size=size, size=rgb.size)


def _can_be_copied(image: Image.Image, data: bytes, max_side: int | None) -> bool:
    if image.format not in ("JPEG", "PNG") or image.mode not in ("RGB", "L") or "transparency" in image.info:
        return False
    if image.format == "PNG" and data[_PNG_BIT_DEPTH] != 8:
        return False
    if max_side is not None and max(image.size) > max_side:
        return False
    return image.getexif().get(ExifTag.Orientation, 1) == 1


def map_in_order(
    function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int
) -> Generator[tuple[_Item, Future[_Result]], None, None]:
    """Apply a function in threads and yield each item with its finished future, in the order of the items.

    Threads, since pillow decodes and encodes outside Python's global lock. Only a few items are in flight at a time,
    so that encoded images do not pile up in memory behind a slow disk.

    Args:
        function: what to apply; its exception, if any, is raised by the future's ``result()``.
        items: its arguments.
        workers: number of threads, at least 1.
    """
    pending: collections.deque[tuple[_Item, Future[_Result]]] = collections.deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(function, item)))
                if len(pending) > 4 * workers:
                    yield _finished(pending)
            while pending:
                yield _finished(pending)
        finally:  # the consumer stopped early, or an error came through: start nothing more
            pool.shutdown(wait=True, cancel_futures=True)


def _finished(
    pending: collections.deque[tuple[_Item, Future[_Result]]],
) -> tuple[_Item, Future[_Result]]:
    item, future = pending.popleft()
    future.exception()  # waits
    return item, future
