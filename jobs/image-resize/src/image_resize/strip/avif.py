"""AVIF without its items of metadata: ISO 14496-12, HEIF and AVIF 1.1.

Rotation and mirroring are properties of the picture. The decoder knows them, and orientation in EXIF means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from image_resize.strip.stripped import Stripped

_METADATA = (b"Exif", b"mime", b"uri ")
_UNKNOWN = b"skip"


def strip(data: bytes) -> Stripped:
    """Give items of metadata a type that no decoder knows, so that it does not read them."""
    stripped = bytearray(data)
    for meta, end in _metadata(data):
        for items, items_end in _boxes(data, b"iinf", meta + 4, end):
            for item, _ in _boxes(data, b"infe", items + (6 if data[items] == 0 else 8), items_end):
                kind = item + (8 if data[item] < 3 else 10)
                if data[kind : kind + 4] in _METADATA:
                    stripped[kind : kind + 4] = _UNKNOWN
    return Stripped(bytes(stripped))


def _metadata(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the boxes that may list items: that of the picture, and those of an animation's tracks."""
    yield from _boxes(data, b"meta", 0, len(data))
    for movie in _boxes(data, b"moov", 0, len(data)):
        for track in _boxes(data, b"trak", *movie):
            yield from _boxes(data, b"meta", *track)


def _boxes(data: bytes, kind: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the body of each box of a `kind` between two positions."""
    while at + 8 <= end:
        size, body = int.from_bytes(data[at : at + 4]), at + 8
        if size == 1:
            size, body = int.from_bytes(data[at + 8 : at + 16]), at + 16
        after = min(at + size, end) if size else end
        if after < body:
            return
        if data[at + 4 : at + 8] == kind:
            yield body, after
        at = after
