"""Style of the charts in docs/, for matplotlib."""

from __future__ import annotations

from typing import Any

INK, GRID, SPAN = "#24292f", "#d0d7de", "#eff2f5"

# Real text, and the same bytes for the same figures.
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "keda-jobs",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "text.color": INK,
}

SVG: dict[str, Any] = {"format": "svg", "metadata": dict.fromkeys(("Date", "Creator", "Format", "Type"))}
