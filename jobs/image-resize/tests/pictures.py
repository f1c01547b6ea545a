"""Pictures for the tests, created with Pillow, or byte by byte where Pillow would refuse."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

from image_resize.resize import Thumbnail, make_thumbnail

Colour = tuple[int, ...]

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)
CORNERS = [RED, GREEN, BLUE, WHITE]
LOSSY_TOLERANCE = 12
MAX_PIXELS = 100_000_000


def quadrants(width: int, height: int) -> Image.Image:
    """Draw red and green above blue and white."""
    image = Image.new("RGB", (width, height), RED)
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height // 2), GREEN)
    draw.rectangle((0, height // 2, width // 2, height), BLUE)
    draw.rectangle((width // 2, height // 2, width, height), WHITE)
    return image


def picture(width: int, height: int) -> Image.Image:
    """Draw a picture with detail everywhere."""
    return Image.effect_mandelbrot((width, height), (-2.5, -1.2, 1.5, 1.2), 40).convert("RGB")


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def thumbnail(data: bytes, max_px: int = 200) -> Thumbnail:
    return make_thumbnail(data, max_px, MAX_PIXELS)


def opened(data: bytes, max_px: int = 200) -> Image.Image:
    small = thumbnail(data, max_px)
    image = Image.open(BytesIO(small.data))
    image.load()
    assert image.size == (small.width, small.height)
    return image


def pixel(image: Image.Image, spot: tuple[int, int]) -> Colour:
    value = image.getpixel(spot)
    return value if isinstance(value, tuple) else (int(value or 0),)


def extremes(channel: Image.Image) -> tuple[int, int]:
    """Return the lowest and the highest value of a picture with one channel."""
    counts = channel.histogram()
    found = [value for value, count in enumerate(counts) if count]
    return found[0], found[-1]


def close(image: Image.Image, expected: Sequence[Colour], tolerance: int = LOSSY_TOLERANCE) -> bool:
    """Return whether the centres of the four quarters have the expected colours."""
    width, height = image.size
    spots = [(width // 4 + right * width // 2, height // 4 + low * height // 2) for low in (0, 1) for right in (0, 1)]
    found = [pixel(image.convert("RGB"), spot) for spot in spots]
    return all(abs(a - b) <= tolerance for f, e in zip(found, expected, strict=True) for a, b in zip(f, e, strict=True))


def png_chunk(kind: bytes, body: bytes, right_crc: bool = True) -> bytes:
    crc = zlib.crc32(kind + body) ^ (not right_crc)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in chunks)


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)


def tiff(width: int, height: int, *more: tuple[int, int, int, int]) -> bytes:
    """Build a grey TIFF whose only strip is missing. `more` holds raw entries: tag, type, count, value."""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    entries += [(277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, width * height % 2**32)]
    merged = sorted({entry[0]: entry for entry in [*entries, *more]}.values())
    body = b"".join(struct.pack("<HHII", *entry) for entry in merged)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(merged)) + body + bytes(4)
