"""Transparency that a PNG gives beside its pixels (tRNS)."""

from __future__ import annotations

import struct
import zlib

import pytest
from pictures import opened, png_chunk, png_header


def packed(levels: list[int], depth: int) -> bytes:
    """Return one row of a PNG: its filter, and the levels with `depth` bits each."""
    bits = "".join(f"{level:0{depth}b}" for level in levels)
    return b"\0" + int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))


def png_with(colour: int, depth: int, levels: list[int], *beside: bytes) -> bytes:
    """Build a PNG of one row, with chunks `beside` the pixels."""
    channels = 3 if colour == 2 else 1
    header = png_chunk(*png_header(len(levels) // channels, 1, depth, colour))
    pixels = png_chunk(b"IDAT", zlib.compress(packed(levels, depth)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(beside) + pixels + png_chunk(b"IEND", b"")


def alphas(data: bytes) -> list[int]:
    image = opened(data)
    assert image.height == 1
    return list(image.convert("RGBA").getchannel("A").tobytes())


@pytest.mark.parametrize("rubbish", [0, 0xFFFF])
@pytest.mark.parametrize(
    ("depth", "levels"),
    [(1, [0, 1, 1]), (2, [0, 1, 2, 3]), (4, list(range(16))), (8, [0, 77, 78, 255]), (16, [0, 0x4D4D, 0x4D4E, 0xFFFF])],
)
def test_a_transparent_grey_is_right_at_every_depth(depth: int, levels: list[int], rubbish: int) -> None:
    for hidden in set(levels):
        trns = struct.pack(">H", hidden | rubbish << depth & 0xFFFF)
        data = png_with(0, depth, levels, png_chunk(b"tRNS", trns))
        assert alphas(data) == [0 if level == hidden else 255 for level in levels]


@pytest.mark.parametrize(
    ("depth", "colours"),
    [
        (8, [(1, 2, 3), (1, 2, 4), (1, 3, 3), (0, 2, 3)]),
        (16, [(0x102, 0x304, 0x506), (0x102, 0x304, 0x507), (0x102, 0x305, 0x506), (0x202, 0x304, 0x506)]),
    ],
)
def test_a_transparent_colour_is_right_at_every_depth(depth: int, colours: list[tuple[int, int, int]]) -> None:
    levels = [level for colour in colours for level in colour]
    rubbish = 0xAB00 if depth == 8 else 0
    for hidden in colours:
        trns = struct.pack(">3H", *(level | rubbish for level in hidden))
        data = png_with(2, depth, levels, png_chunk(b"tRNS", trns))
        assert alphas(data) == [0 if colour == hidden else 255 for colour in colours]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_palette_is_right_at_every_depth(depth: int) -> None:
    indexes = list(range(min(1 << depth, 9)))
    palette = png_chunk(b"PLTE", bytes(range(3 << depth) if depth < 8 else 768))
    opacities = [40 * index % 256 for index in indexes[:-1]]
    for longer in (b"", bytes(300)):
        trns = bytes(opacities) + (b"\xff" + longer if longer else b"")
        data = png_with(3, depth, indexes, palette, png_chunk(b"tRNS", trns))
        assert alphas(data) == [*opacities, 255]


@pytest.mark.parametrize(("colour", "depth"), [(0, 8), (0, 16), (2, 8), (2, 16)])
@pytest.mark.parametrize("trns", [b"", b"\0", b"\0" * 6])
def test_broken_transparency_is_ignored(colour: int, depth: int, trns: bytes) -> None:
    data = png_with(colour, depth, [0] * 9, png_chunk(b"tRNS", trns, right_crc=len(trns) < 6))
    assert set(alphas(data)) == {255}
