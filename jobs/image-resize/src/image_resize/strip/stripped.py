"""Result of removing the metadata of an original."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PROFILE = 4 * 1024 * 1024
"""Largest ICC profile in bytes. Those of printers have up to 3 MB. A larger one is ignored, so sRGB is assumed."""


@dataclass(frozen=True, slots=True)
class Stripped:
    """Original without its metadata, and what of the metadata decides how the pixels look.

    `transparent` is the colour that a PNG with 16 bits per channel declares transparent.
    """

    data: bytes
    profile: bytes | None = None
    orientation: int = 1
    transparent: tuple[int, int, int] | None = None
