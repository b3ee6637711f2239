"""Pictures of scenes: flat antialiased shapes on a plain ground, as PNG bytes that depend on the scene alone."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image, ImageDraw

from narvl.scenes.world import Scene

# Saturated and far apart for objects, without saturation for grounds: no object melts into a ground.
OBJECT_RGB = {
    "red": (225, 20, 30),
    "orange": (255, 125, 0),
    "yellow": (250, 235, 30),
    "green": (20, 150, 40),
    "cyan": (0, 215, 225),
    "blue": (30, 60, 230),
    "purple": (175, 40, 205),
}
BACKGROUND_RGB = {"white": (245, 245, 245), "grey": (135, 135, 135), "black": (20, 20, 20)}

SUPERSAMPLING = 4
CROSS_ARM = 0.34
RING_HOLE = 0.5


def render(scene: Scene) -> Image.Image:
    """Draw a scene.

    Args:
        scene: what to draw.

    Returns:
        An RGB image of image_size x image_size pixels.
    """
    image = Image.new("RGB", (scene.image_size, scene.image_size), BACKGROUND_RGB[scene.background])
    for item in scene.objects:
        x0, y0, x1, _ = item.box
        image.paste(OBJECT_RGB[item.colour], (x0, y0), shape_mask(item.shape, x1 - x0))
    return image


def png_bytes(image: Image.Image) -> bytes:
    """Encode an image as PNG.

    Args:
        image: any image that PNG can hold.

    Returns:
        The file's bytes: the same image gives the same bytes.
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@lru_cache(maxsize=1024)
def shape_mask(shape: str, side: int) -> Image.Image:
    """Draw a shape's coverage, larger than needed and then averaged down, so that edges are smooth.

    Args:
        shape: a key of `lexicon.SHAPES`.
        side: width and height in pixels.

    Returns:
        An "L" image of side x side pixels, 0 outside and 255 inside the shape, which touches all four sides.
    """
    full = side * SUPERSAMPLING
    last = full - 1
    mask = Image.new("L", (full, full), 0)
    draw = ImageDraw.Draw(mask)
    if shape == "circle":
        draw.ellipse((0, 0, last, last), fill=255)
    elif shape == "square":
        draw.rectangle((0, 0, last, last), fill=255)
    elif shape == "triangle":
        draw.polygon(((last / 2, 0), (0, last), (last, last)), fill=255)
    elif shape == "cross":
        near = round(full * (1 - CROSS_ARM) / 2)
        draw.rectangle((near, 0, last - near, last), fill=255)
        draw.rectangle((0, near, last, last - near), fill=255)
    elif shape == "ring":
        near = round(full * (1 - RING_HOLE) / 2)
        draw.ellipse((0, 0, last, last), fill=255)
        draw.ellipse((near, near, last - near, last - near), fill=0)
    else:
        raise ValueError(f"shape is {shape!r}: it has no drawing")
    return mask.reduce(SUPERSAMPLING)
