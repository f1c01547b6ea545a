"""TIFF with one directory, and of that the tags that decide the pixels: TIFF 6.0 and BigTIFF."""

from __future__ import annotations

import struct

from image_resize.strip.stripped import MAX_PROFILE, Stripped

# Size, depth, compression, colours, orientation, strips and tiles, predictor, fax options, extra samples, JPEG, YCbCr.
_KEPT = frozenset(
    {256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338}
    | {339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532}
)
_PROFILE = 34675
_BYTES = (1, 7)


def strip(data: bytes) -> Stripped:
    """Remove the other tags of the first directory, and leave the pixels where tags point to."""
    order = "<" if data.startswith(b"II") else ">"
    is_big = 43 in data[2:4]
    # Formats of an offset, of the number of entries, and of an entry: tag, type, count, value.
    offset, number, entry = ("Q", "Q", "HHQQ") if is_big else ("I", "H", "HHII")
    (start,) = struct.unpack_from(order + offset, data, 8 if is_big else 4)
    (count,) = struct.unpack_from(order + number, data, start)
    start, size = start + struct.calcsize(order + number), struct.calcsize(order + entry)
    kept, profile = [], None
    for at in range(start, min(start + count * size, len(data) - size + 1), size):
        tag, kind, length, where = struct.unpack_from(order + entry, data, at)
        if tag in _KEPT:
            kept.append(data[at : at + size])
        elif tag == _PROFILE and kind in _BYTES and length <= MAX_PROFILE:
            profile = data[where : where + length]
    directory = struct.pack(order + number, len(kept)) + b"".join(kept) + bytes(struct.calcsize(order + offset))
    at = start - struct.calcsize(order + number)
    view = memoryview(data)
    return Stripped(b"".join([view[:at], directory, view[at + len(directory) :]]), profile)
