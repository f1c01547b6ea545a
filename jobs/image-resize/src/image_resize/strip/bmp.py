"""BMP with a palette of a possible size. It has no other metadata that a decoder reads."""

from __future__ import annotations

import struct

from image_resize.strip.stripped import Stripped

_SHORT_HEADER = 12
_DEPTH, _COLOURS = 28, 46


def strip(data: bytes) -> Stripped:
    """Let a count of colours that exceeds the depth mean as many as there can be, as 0 does."""
    (header,) = struct.unpack_from("<I", data, 14)
    (depth,) = struct.unpack_from("<H", data, _DEPTH)
    (colours,) = struct.unpack_from("<I", data, _COLOURS)
    if header == _SHORT_HEADER or depth > 8 or colours <= 1 << depth:
        return Stripped(data)
    return Stripped(b"".join([data[:_COLOURS], bytes(4), memoryview(data)[_COLOURS + 4 :]]))
