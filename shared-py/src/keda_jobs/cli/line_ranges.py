"""Lines of a file by their numbers: `57,60-62,129-`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import typer
from typing_extensions import override

_RANGE = re.compile(r"([0-9]{1,18})(-([0-9]{1,18})?)?")


@dataclass(frozen=True, slots=True)
class LineRanges:
    """Numbers of lines, as first and last ones. A last one of None means the end of the file."""

    ranges: tuple[tuple[int, int | None], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what `str` gives."""
        ranges = []
        for part in text.split(","):
            match = _RANGE.fullmatch(part.strip())
            first = int(match[1]) if match else 0
            last = None if match and match[2] == "-" else int(match[3] or first) if match else 0
            if first < 1 or (last is not None and last < first):
                raise typer.BadParameter(f"{text!r} are not lines such as 57,60-62,129-")
            ranges.append((first, last))
        return cls(tuple(ranges))

    def __contains__(self, number: int) -> bool:
        return any(first <= number and (last is None or number <= last) for first, last in self.ranges)

    def left(self, numbers: Iterable[int], rest_from: int | None) -> LineRanges:
        """Return `numbers`, and of these lines those from `rest_from` on."""
        ranges: list[tuple[int, int | None]] = [(number, number) for number in numbers]
        if rest_from is not None:
            ranges += [
                (max(first, rest_from), last) for first, last in self.ranges if last is None or last >= rest_from
            ]
        return LineRanges(_merged(sorted(ranges, key=lambda each: each[0])))

    @override
    def __str__(self) -> str:
        return ",".join(
            str(first) if first == last else f"{first}-{last if last is not None else ''}"
            for first, last in self.ranges
        )


ALL_LINES = LineRanges(((1, None),))


def _merged(ranges: Iterable[tuple[int, int | None]]) -> tuple[tuple[int, int | None], ...]:
    """Join ranges that touch. They come in order."""
    merged: list[tuple[int, int | None]] = []
    for first, last in ranges:
        if merged and (merged[-1][1] is None or first <= merged[-1][1] + 1):
            before, end = merged[-1]
            merged[-1] = (before, None if end is None or last is None else max(end, last))
        else:
            merged.append((first, last))
    return tuple(merged)
