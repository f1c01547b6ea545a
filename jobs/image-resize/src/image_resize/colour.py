"""Conversion of colour modes: to one whose pixels may be averaged, then to 8-bit sRGB with or without alpha."""

from __future__ import annotations

import math
from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageCms

from image_resize.errors import BrokenPicture
from image_resize.strip.stripped import MAX_PROFILE

Levels = tuple[float, float]
"""Values that become black and white."""

_AVERAGED = {"1": "L", "P": "RGB", "RGBX": "RGB"}
_GREY = ("1", "L", "LA", "La")


def levels(image: Image.Image) -> Levels | None:
    """Return black and white of a picture with more than 8 bits per channel, and None for any other.

    White is 65535 in 16 bits. 32-bit integers and floats have no fixed white, so the picture's own range is used.
    """
    if image.mode.startswith("I;16"):
        return 0, 65535
    if image.mode not in ("I", "F"):
        return None
    match image.getextrema():
        case (int() | float() as low, int() | float() as high) if math.isfinite(low) and math.isfinite(high):
            return low, high
    raise BrokenPicture("the picture contains values that are not finite numbers")


def for_averaging(image: Image.Image, deep: Levels | None) -> Image.Image:
    """Convert `image` to a mode that may be averaged: no palette, 8 bits per channel, colours weighted by opacity.

    Without the weights, the colour of fully transparent pixels would bleed into the edges.
    """
    if deep is not None:
        return _eight_bit(image, deep)
    if image.has_transparency_data and image.mode in _GREY:
        return image.convert("LA").convert("La")
    if image.has_transparency_data:
        return image.convert("RGBA").convert("RGBa")
    mode = _AVERAGED.get(image.mode, image.mode)
    return image if mode == image.mode else image.convert(mode)


def _eight_bit(image: Image.Image, deep: Levels) -> Image.Image:
    """Convert `image` to L or La. It is scaled as floats, because `convert("L")` clips values above 255."""
    low, high = deep
    scale = 255 / (high - low) if high > low else 0.0
    grey = image.convert("F").point(lambda value: value * scale + (0.5 - low * scale)).convert("L")
    hidden = image.info.get("transparency")  # a 16-bit PNG may declare one level transparent
    if not isinstance(hidden, int):
        return grey
    opacity = [255] * 65536
    opacity[hidden] = 0
    grey.putalpha(image.convert("I").point(opacity, "L"))
    return grey.convert("La")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an averaged `image` to L, LA, RGB or RGBA in sRGB. A `profile` that does not fit is ignored."""
    if image.mode not in ("La", "RGBa"):
        return _opaque_srgb(image, profile)
    straight = image.convert(image.mode.upper())
    colours = _opaque_srgb(straight.convert(straight.mode.removesuffix("A")), profile)
    colours.putalpha(straight.getchannel("A"))
    return colours


def _opaque_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode == "YCbCr":
        image = image.convert("RGB")
    if profile is not None and len(profile) > MAX_PROFILE:
        profile = None
    transform = _to_srgb_transform(profile, image.mode) if profile or image.mode == "LAB" else None
    if transform is not None:
        colours = transform.apply(image)
        return colours.convert("L") if image.mode == "L" else colours
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


@lru_cache(maxsize=4)
def _to_srgb_transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform from `profile`, or from Lab for mode LAB. Return None when the profile is unusable."""
    try:
        source = ImageCms.createProfile("LAB") if mode == "LAB" else ImageCms.ImageCmsProfile(BytesIO(profile or b""))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
