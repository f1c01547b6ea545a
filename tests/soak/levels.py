"""Levels of what a process uses, and whether they rise.

A quarter of the time is warm-up: pools and caches fill, and the streams reach the amount that they keep. The rest is
cut into thirds. The level of a third is the median of the peaks of its windows of a minute: a peak counts a child that
comes and goes whenever it is there, and a median ignores a burst. A leak raises both the second level and the third. A
single step, such as of a cache that fills, raises only one of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from .samples import Sample, Use

WARM_UP = 0.25
"""Share of the time that does not count."""

_WINDOW = 6
# A rise from one third to the next of at most this share, or of at most this much where that is more, is noise.
_SHARE = 0.05
_ROOM = Use(memory=2, descriptors=2, threads=1)


class Levels(NamedTuple):
    """Levels of the three thirds after the warm-up."""

    first: float
    second: float
    third: float

    @property
    def rise(self) -> float:
        """Smaller one of the two rises."""
        return min(self.second - self.first, self.third - self.second)


def levels(samples: Sequence[Sample], process: str, field: str) -> Levels:
    """Return the levels of a field of `Use` for a process."""
    values = [getattr(sample.uses[process], field) for sample in samples[int(len(samples) * WARM_UP) :]]
    peaks = [max(values[start : start + _WINDOW]) for start in range(0, len(values), _WINDOW)]
    one, two = len(peaks) // 3, 2 * len(peaks) // 3
    return Levels(*map(statistics.median, (peaks[:one], peaks[one:two], peaks[two:])))


def is_rising(field: str, found: Levels) -> bool:
    """Return whether both rises are more than noise."""
    room: float = getattr(_ROOM, field)
    return found.rise > max(_SHARE * found.first, room)
