"""PNG without its ancillary chunks: https://www.w3.org/TR/png-3/."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from image_resize.strip.exif import orientation
from image_resize.strip.stripped import MAX_PROFILE, Stripped

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOUR, _PALETTE = 0, 2, 3


def strip(data: bytes) -> Stripped:
    """Keep header, palette, transparency and the pixels. Of an animation, they are the default image."""
    header = palette = transparency = exif = profile = b""
    pixels: list[bytes] = []
    for kind, body, crc in _chunks(data):
        match kind:
            case b"IHDR" if not header:
                header = _with_crc(kind, body, crc)
            case b"PLTE" if not palette and not pixels:
                palette = _with_crc(kind, body, crc)
            case b"IDAT":
                pixels.append(body)
            case b"tRNS" | b"eXIf" | b"iCCP" if crc != _crc(kind, body):
                continue
            case b"tRNS" if not pixels:
                transparency = body
            case b"eXIf" if not exif:
                exif = body
            case b"iCCP" if not profile:
                profile = body
            case b"IEND":
                break
    depth, colour = header[16], header[17]
    declared, transparent = _transparency(transparency, depth, colour)
    parts = [_SIGNATURE, header, palette if colour == _PALETTE else b"", declared]
    return Stripped(
        b"".join([*parts, *_joined(b"IDAT", pixels), _chunk(b"IEND", b"")]),
        _inflated(profile),
        orientation(exif),
        transparent,
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield type, body and checksum of each chunk. The last one may be cut off."""
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        yield kind, data[at + 8 : end], data[end : end + 4]
        at = end + 4


def _crc(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _with_crc(kind: bytes, body: bytes, crc: bytes) -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + crc


def _chunk(kind: bytes, body: bytes) -> bytes:
    return _with_crc(kind, body, _crc(kind, body))


def _joined(kind: bytes, bodies: list[bytes]) -> list[bytes]:
    """Return the parts of one chunk with all `bodies`, which may be large."""
    crc = zlib.crc32(kind)
    for body in bodies:
        crc = zlib.crc32(body, crc)
    return [struct.pack(">I4s", sum(map(len, bodies)), kind), *bodies, struct.pack(">I", crc)]


def _transparency(body: bytes, depth: int, colour: int) -> tuple[bytes, tuple[int, int, int] | None]:
    """Return the chunk tRNS as Pillow understands it, or the colour where it does not.

    Pillow compares a grey level of 2 or 4 bits with pixels that it has widened to 8, and of 16-bit colours it keeps
    8 bits. Bits above the depth mean nothing.
    """
    channels = {_GREY: 1, _COLOUR: 3}.get(colour)
    if colour == _PALETTE:
        return (_chunk(b"tRNS", body[: 1 << depth]) if body else b""), None
    if channels is None or len(body) < 2 * channels:
        return b"", None
    top = (1 << depth) - 1
    levels = [level & top for level in struct.unpack_from(f">{channels}H", body)]
    if colour == _COLOUR and depth == 16:
        return b"", (levels[0], levels[1], levels[2])
    widened = [level * 255 // top if depth < 8 else level for level in levels]
    return _chunk(b"tRNS", struct.pack(f">{channels}H", *widened)), None


def _inflated(body: bytes) -> bytes | None:
    """Return the profile in a chunk iCCP: a name, its end, the method 0, and the compressed profile."""
    _, end, rest = body.partition(b"\0")
    if not end or rest[:1] != b"\0":
        return None
    inflating = zlib.decompressobj()
    try:
        profile = inflating.decompress(rest[1:], MAX_PROFILE)
    except zlib.error:
        return None
    return profile if inflating.eof else None
