"""Results: ratios within one run, because times depend on the machine, and their bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Series:
    """Figures of one contestant, one for each round."""

    name: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the values."""
        return median(self.values)


@dataclass(frozen=True, slots=True)
class Bound:
    """Range of ratios that pass."""

    least: float = 0.0
    most: float = math.inf

    def holds(self, ratio: float) -> bool:
        """Return whether `ratio` is in the range."""
        return self.least <= ratio <= self.most

    def __str__(self) -> str:
        return f"≥ {self.least:g}" if self.most == math.inf else f"≤ {self.most:g}"


@dataclass(frozen=True, slots=True)
class Baseline:
    """Series to compare ours with. Without a bound it is only for information."""

    series: Series
    bound: Bound | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Our series and its baselines. Ours is the sum of `parts`, if any."""

    title: str
    unit: str
    ours: Series
    baselines: Sequence[Baseline]
    parts: Sequence[Series] = ()
    note: str = ""

    def ratio(self, baseline: Baseline) -> float:
        """Return the median of the ratios of all rounds. What slows a whole round cancels out."""
        pairs = zip(self.ours.values, baseline.series.values, strict=True)
        return median(ours / theirs for ours, theirs in pairs)

    @property
    def misses(self) -> list[str]:
        """Bounds that do not hold, in words."""
        return [
            f"{self.title}: {self.ours.name} is {self.ratio(baseline):.2f} times {baseline.series.name}, "
            f"and must be {baseline.bound}"
            for baseline in self.baselines
            if baseline.bound is not None and not baseline.bound.holds(self.ratio(baseline))
        ]
