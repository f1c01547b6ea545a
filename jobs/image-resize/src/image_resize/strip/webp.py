"""WebP with its first frame only: https://developers.google.com/speed/webp/docs/riff_container."""

from __future__ import annotations

import struct

from image_resize.strip.exif import orientation
from image_resize.strip.stripped import MAX_PROFILE, Stripped

_ANIMATED, _ALPHA = 0x02, 0x10
_NO_BACKGROUND = bytes(6)


def strip(data: bytes) -> Stripped:
    """Keep the canvas and the first frame."""
    chunks = _chunks(data)
    canvas, frame = chunks.get(b"VP8X", b""), chunks.get(b"ANMF")
    bitmap = next((kind for kind in (b"VP8 ", b"VP8L") if kind in chunks), None)
    parts: list[tuple[bytes, bytes]] = []
    if len(canvas) >= 10:
        flags = canvas[0] & _ALPHA | (_ANIMATED if bitmap is None else 0)
        parts.append((b"VP8X", bytes([flags]) + canvas[1:10]))
    if bitmap is not None:
        if parts and bitmap == b"VP8 " and b"ALPH" in chunks:
            parts.append((b"ALPH", chunks[b"ALPH"]))
        parts.append((bitmap, chunks[bitmap]))
    elif frame is not None:
        parts += [(b"ANIM", _NO_BACKGROUND), (b"ANMF", frame)]
    body = b"".join(kind + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for kind, part in parts)
    profile = chunks.get(b"ICCP", b"")
    return Stripped(
        b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body,
        profile if 0 < len(profile) <= MAX_PROFILE else None,
        orientation(chunks.get(b"EXIF", b"")),
    )


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the first chunk of each kind. The last one may be cut off."""
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind not in chunks:
            chunks[kind] = data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return chunks
