"""Results: ratios within one run, because times depend on the machine, their bounds, the table, and JSON."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

from rich.table import Table

from keda_jobs.cli.terminal import add_row, new_table
from keda_jobs.runtime.cpu import cores

Figures = Mapping[str, Sequence[float]]
"""Figures of each contestant, one for each round."""


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
class Comparison:
    """Our figures, which come first, and those of the baselines. Ours are the sums of `parts`, if any."""

    title: str
    unit: str
    figures: Figures
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    note: str = ""
    parts: Figures = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float]:
        """Ratio of ours to each baseline: the median of all rounds. What slows a whole round cancels out."""
        (_, ours), *baselines = self.figures.items()
        return {name: median(a / b for a, b in zip(ours, theirs, strict=True)) for name, theirs in baselines}

    @property
    def misses(self) -> list[str]:
        """Bounds that do not hold, in words."""
        ours = next(iter(self.figures))
        return [
            f"{self.title}: {ours} is {ratio:.2f} times {name}, and must be {self.bounds[name]}"
            for name, ratio in self.ratios.items()
            if name in self.bounds and not self.bounds[name].holds(ratio)
        ]


_IN_JSON = ("title", "unit", "figures", "parts", "ratios", "bounds", "misses", "note")


def as_table(comparisons: Sequence[Comparison]) -> Table:
    """Build a table with a row for each contestant and the ratio of ours to it."""
    table = new_table("measured", "unit", "median", "min–max", "ours ÷ this", "bound", right=("median", "min–max"))
    for comparison in comparisons:
        (ours, *baselines) = comparison.figures.items()
        parts = [(f"of it {name}", values) for name, values in comparison.parts.items()]
        for name, values in (ours, *parts, *baselines):
            spread = f"{_number(min(values))}–{_number(max(values))}"
            ratio = comparison.ratios.get(name)
            compared = () if ratio is None else (f"{ratio:.2f}", comparison.bounds.get(name, ""))
            add_row(table, name, comparison.unit, _number(median(values)), spread, *compared)
        table.add_section()
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def as_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return all figures and the machine that they were measured on. Bounds are to be written as text."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "cores": cores(),
            "load": os.getloadavg()[0],
        },
        "comparisons": [{name: getattr(comparison, name) for name in _IN_JSON} for comparison in comparisons],
    }
