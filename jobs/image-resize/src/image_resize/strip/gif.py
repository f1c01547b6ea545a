"""GIF with its first frame only, without extensions: https://www.w3.org/Graphics/GIF/spec-gif89a.txt."""

from __future__ import annotations

from image_resize.strip.stripped import Stripped

_HEADER = 13
_EXTENSION, _FRAME, _END = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9


def strip(data: bytes) -> Stripped:
    """Keep the canvas, and of the first frame its pixels and its transparent colour."""
    start = at = _HEADER + _table(data[10])
    control = b""
    while data[at] != _END:
        if data[at] == _FRAME:
            end = _end_of_blocks(data, at + 11 + _table(data[at + 9]))
            return Stripped(data[:start] + control + data[at:end] + b";")
        if data[at] == _EXTENSION:
            if data[at + 1] == _CONTROL and data[at + 2] >= 4:
                control = b"!\xf9\4" + data[at + 3 : at + 7] + b"\0"
            at = _end_of_blocks(data, at + 2)
        else:
            at += 1
    return Stripped(data)


def _table(flags: int) -> int:
    """Return the size of a colour table in bytes."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _end_of_blocks(data: bytes, at: int) -> int:
    """Return where the blocks from `at` end: each begins with its size, and an empty one is the last."""
    size, length = 1, len(data)
    while size and at < length:
        size = data[at]
        at += size + 1
    return at
