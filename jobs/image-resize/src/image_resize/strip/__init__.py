"""Originals without metadata: only what decides the pixels reaches the decoder.

A broken text, EXIF block or profile costs no picture then, and cannot attack the decoder. Nothing here raises for
broken data: what is missing, the decoder reports.
"""

from __future__ import annotations

import re
import struct

from image_resize.strip import avif, bmp, gif, jpeg, png, tiff, webp
from image_resize.strip.stripped import Stripped

__all__ = ["Stripped", "begins_like", "strip"]

_FORMATS = (
    ("JPEG", re.compile(rb"\xff\xd8\xff"), jpeg.strip),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), png.strip),
    ("GIF", re.compile(rb"GIF8[79]a"), gif.strip),
    ("WebP", re.compile(rb"(?s)RIFF.{4}WEBP"), webp.strip),
    ("BMP", re.compile(rb"(?s)BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"), bmp.strip),
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]"), tiff.strip),
    ("AVIF", re.compile(rb"(?s).{4}ftyp(?:.{4}){0,30}?avi[fs]"), avif.strip),
)


def strip(data: bytes) -> Stripped:
    """Remove the metadata of a picture in any of the formats. Other data stays as it is."""
    for _, magic, of_format in _FORMATS:
        if magic.match(data):
            try:
                return of_format(data)
            except (IndexError, OverflowError, struct.error):  # it ends before the picture begins
                break
    return Stripped(data)


def begins_like(data: bytes) -> str | None:
    """Return the name of the format whose signature `data` begins with."""
    return next((name for name, magic, _ in _FORMATS if magic.match(data)), None)
