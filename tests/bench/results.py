"""What was measured, and how ours must compare with it: ratios within one run, because times depend on the machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Series:
    """One figure a round."""

    name: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the values."""
        return median(self.values)


@dataclass(frozen=True, slots=True)
class Bound:
    """Which ratios pass."""

    least: float = 0.0
    most: float = math.inf

    def holds(self, ratio: float) -> bool:
        """Whether `ratio` lies within."""
        return self.least <= ratio <= self.most

    def __str__(self) -> str:
        return f"≥ {self.least:g}" if self.most == math.inf else f"≤ {self.most:g}"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What ours is held against; without a bound it is shown for information only."""

    series: Series
    bound: Bound | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours beside its baselines, measured in turn; `parts` are what ours is the sum of."""

    title: str
    unit: str
    ours: Series
    baselines: Sequence[Baseline]
    parts: Sequence[Series] = ()
    note: str = ""

    def ratio(self, baseline: Baseline) -> float:
        """The median, over the rounds, of ours to the baseline: what slows a whole round down cancels out."""
        pairs = zip(self.ours.values, baseline.series.values, strict=True)
        return median(ours / theirs for ours, theirs in pairs)

    @property
    def misses(self) -> list[str]:
        """The bounds that do not hold, in words."""
        return [
            f"{self.title}: {self.ours.name} is {self.ratio(baseline):.2f} times {baseline.series.name}, "
            f"and must be {baseline.bound}"
            for baseline in self.baselines
            if baseline.bound is not None and not baseline.bound.holds(self.ratio(baseline))
        ]
