"""JPEG without its application segments and comments: ITU T.81, annex B."""

from __future__ import annotations

import re
from collections.abc import Iterator

from image_resize.strip.exif import orientation
from image_resize.strip.stripped import MAX_PROFILE, Stripped

# Marker and length. Markers that are not listed, such as the start of the image, stand alone.
_SEGMENT = re.compile(rb"(?s)\xff([\x02-\xcf\xda-\xfe])(..)")
_SCAN = 0xDA
_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_OTHER_METADATA = frozenset(range(0xE0, 0xFF))
_EXIF, _PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"


def strip(data: bytes) -> Stripped:
    """Keep tables, frame and scans, and of JFIF and Adobe's segment what names the colours."""
    kept: list[bytes | memoryview] = [b"\xff\xd8"]
    pieces, exif = [], b""
    for marker, start, end in _segments(data):
        body = data[start:end]
        if marker == _SCAN:
            kept.append(memoryview(data)[start - 4 :])
            break
        if marker == _APP0 and body.startswith(b"JFIF\0"):
            kept.append(b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0")
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            kept.append(b"\xff\xee\0\x0e" + body[:12])
        elif marker == _APP1 and body.startswith(_EXIF):
            exif = exif or body
        elif marker == _APP2 and body.startswith(_PROFILE):
            pieces.append(body[len(_PROFILE) :])
        elif marker not in _OTHER_METADATA:
            kept.append(data[start - 4 : end])
    return Stripped(b"".join(kept), _joined(pieces), orientation(exif))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment's body, up to the first scan. Bytes between segments are skipped."""
    at = 2
    while match := _SEGMENT.search(data, at):
        start = match.end()
        end = start - 2 + int.from_bytes(match[2])
        yield match[1][0], start, end
        at = max(start, end)


def _joined(pieces: list[bytes]) -> bytes | None:
    """Join the numbered pieces of a profile. Return None when one is missing or doubled."""
    numbered = sorted((piece[0], piece[1], piece[2:]) for piece in pieces if len(piece) > 2)
    expected = [(number, len(numbered)) for number in range(1, len(numbered) + 1)]
    if [(number, total) for number, total, _ in numbered] != expected:
        return None
    profile = b"".join(part for _, _, part in numbered)
    return profile if 0 < len(profile) <= MAX_PROFILE else None
