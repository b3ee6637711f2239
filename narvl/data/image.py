"""Images: from the bytes people have to the normalised RGB tensor that the model sees."""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base as ExifTag
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from narvl.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

#: The formats that are read, by pillow's names. Pillow knows more, of which some start other programs (EPS).
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG2000", "PPM")
#: Larger images are refused before they are decoded: a few kilobytes can claim gigabytes. The number is pillow's own,
#: at which it warns; the side is a JPEG's longest.
MAX_PIXELS = 89_478_485
MAX_SIDE = 65_535

# Values of EXIF's orientation for which width and height change places.
_TURNED = (5, 6, 7, 8)
# A TIFF's sample format, its default.
_UNSIGNED = 1
# A TIFF's photometric interpretation.
_WHITE_IS_ZERO = 0
_STANDARD_TO_URLSAFE = bytes.maketrans(b"+/", b"-_")


def decode_base64(text: str) -> bytes:
    """Decode URL-safe or standard base64, with or without its padding.

    Raises:
        DataError: ``text`` is not base64.
    """
    data = text.strip().encode("ascii", "replace").translate(_STANDARD_TO_URLSAFE).rstrip(b"=")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise DataError(f"the image is not base64 ({error}); it begins with {text[:20]!r}") from error


@contextlib.contextmanager
def open_image(source: Path | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """Open an image for what the block does with it: nothing in it is to be trusted.

    Args:
        source: the file, or its bytes.
        name: what messages call it.

    Raises:
        DataError: it is in none of ``FORMATS``, is larger than ``MAX_PIXELS`` or ``MAX_SIDE``, has samples without a
            known white, or pillow fails on it, in the block too.
    """
    try:
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
                raise DataError(
                    f"{name} is {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read, and "
                    f"{MAX_SIDE:,} on a side. Scale it down."
                )
            if samples := _samples_of_unknown_range(image):
                raise DataError(
                    f"{name} has {samples}: nothing tells which values are black and white. Save it as a PNG, with 8 "
                    "or 16 bits a channel."
                )
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is in no format that is read here. Give a JPEG or PNG.") from error
    except Exception as error:  # a damaged file makes pillow raise anything: struct.error, KeyError, MemoryError, ...
        reason = str(error) or type(error).__name__
        raise DataError(f"{name} cannot be decoded ({reason}). It is truncated or damaged: replace it.") from error


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Return an opened image's width and height as viewers show it, the camera's rotation (EXIF) applied."""
    turned = image.getexif().get(ExifTag.Orientation, 1) in _TURNED
    # pillow swaps the sides on opening where a TIFF's own tag asks for it, and not where its XMP does.
    upright = isinstance(image, TiffImageFile) and ExifTag.Orientation in image.tag_v2
    return (image.height, image.width) if turned and not upright else (image.width, image.height)


def _samples_of_unknown_range(image: Image.Image) -> str | None:
    """Describe an opened image's samples where the file does not tell what white is; None where it does."""
    if image.mode == "F":
        return "floating-point samples"
    if not isinstance(image, TiffImageFile):
        return None
    if PHOTOMETRIC_INTERPRETATION not in image.tag_v2 and image.mode != "RGB":  # JPEGs in TIFFs
        return "samples without a photometric interpretation"
    if not image.mode.startswith("I"):
        return None
    bits, kind = (image.tag_v2.get(tag, (_UNSIGNED,))[0] for tag in (BITSPERSAMPLE, SAMPLEFORMAT))
    return None if (bits, kind) == (16, _UNSIGNED) else f"{'' if kind == _UNSIGNED else 'signed '}{bits}-bit samples"


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn any pillow image into 8-bit RGB as a viewer would show it.

    The camera's rotation (EXIF) is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits, and
    turned round where a TIFF's 0 is white.
    """
    # pillow turns fewer bits round itself.
    negative = (
        isinstance(image, TiffImageFile)
        and image.mode.startswith("I")
        and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO
    )
    image = ImageOps.exif_transpose(image) or image
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # pillow's own conversion clips 16-bit values at 255 instead of scaling them.
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
        image = ImageOps.invert(image) if negative else image
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def decode_image(text: str) -> Image.Image:
    """Decode a TSV file's image column into an RGB image.

    Args:
        text: a file of one of ``FORMATS``, as base64.

    Raises:
        DataError: not base64, not an image, a truncated one, or one that is too large.
    """
    return _load(io.BytesIO(decode_base64(text)), "the image")


def upright_size(text: str) -> tuple[int, int]:
    """Return width and height of a TSV file's image, in pixels, as ``decode_image`` gives it, without decoding it.

    Raises:
        DataError: not base64, or not an image.
    """
    with open_image(io.BytesIO(decode_base64(text)), "the image") as image:
        return shown_size(image)


def read_image(path: str | Path) -> Image.Image:
    """Read an image file into an RGB image.

    Raises:
        DataError: the file is missing, is not an image, is truncated or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such image file.")
    return _load(path, str(path))


def _load(source: Path | io.BytesIO, name: str) -> Image.Image:
    with open_image(source, name) as image:
        image.load()
        return to_rgb(image)


def patch_transform(size: int) -> Callable[[Image.Image], torch.Tensor]:
    """Build the transform of every task: bicubic resize to a square, then values from [0, 1] to [-1, 1].

    Args:
        size: side of the square in pixels (``--patch-image-size``).

    Returns:
        A function from an RGB image to a float tensor (3, size, size).

    Raises:
        UsageError: no model has patches for so many pixels.
    """
    from torchvision import transforms

    import narvl.compat  # noqa: F401  (torchvision on a CPU-only torch)
    from narvl.modules.backbone import STRIDE
    from narvl.modules.positions import GRID

    if not 1 <= size <= GRID * STRIDE:
        raise UsageError(f"--patch-image-size {size}: give 1 to {GRID * STRIDE} pixels.")
    return transforms.Compose(
        [
            transforms.Resize((size, size), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.5] * 3, std=[0.5] * 3),
        ]
    )


def encode_base64(data: bytes) -> str:
    """Encode an image file's bytes for a TSV file's image column (URL-safe base64)."""
    return base64.urlsafe_b64encode(data).decode("ascii")
