"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from results import Baseline, Comparison, Series
from rich.table import Table

from keda_jobs.cli.terminal import add_row, new_table
from keda_jobs.runtime.cpu import cores


def as_table(comparisons: Sequence[Comparison]) -> Table:
    """Build a table with a row for each series and its ratio to ours."""
    rows = new_table("measured", "unit", "median", "min–max", "ours ÷ this", "bound", right=("median", "min–max"))
    for comparison in comparisons:
        add_row(rows, *_figures(comparison, comparison.ours))
        for part in comparison.parts:
            add_row(rows, *_figures(comparison, part, prefix="of it "))
        for baseline in comparison.baselines:
            ratio = f"{comparison.ratio(baseline):.2f}"
            add_row(rows, *_figures(comparison, baseline.series), ratio, baseline.bound or "")
        rows.add_section()
    return rows


def _figures(comparison: Comparison, series: Series, *, prefix: str = "") -> list[str]:
    low, high = min(series.values), max(series.values)
    return [
        prefix + series.name,
        comparison.unit,
        _number(series.median),
        f"{_number(low)}–{_number(high)}",
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def as_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return all figures and the machine that they were measured on."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "cores": cores(),
            "load": os.getloadavg()[0],
        },
        "comparisons": [_comparison(comparison) for comparison in comparisons],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "title": comparison.title,
        "unit": comparison.unit,
        "ours": _series(comparison.ours),
        "parts": [_series(part) for part in comparison.parts],
        "baselines": [_series(baseline.series) | _ratio(comparison, baseline) for baseline in comparison.baselines],
        "note": comparison.note,
    }


def _series(series: Series) -> dict[str, Any]:
    values = series.values
    return {
        "name": series.name,
        "median": series.median,
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def _ratio(comparison: Comparison, baseline: Baseline) -> dict[str, Any]:
    ratio = comparison.ratio(baseline)
    bound = baseline.bound
    return {
        "ratio": ratio,
        "bound": str(bound) if bound is not None else None,
        "holds": bound.holds(ratio) if bound is not None else None,
    }
