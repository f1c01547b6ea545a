"""Curves of the last hour as paths of SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from keda_jobs.ui.history import SPAN, Point

WIDTH = 360
HEIGHT = 100
# While nobody looks, there is one point a minute.
_GAP = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class Curve:
    """Path in a box of `WIDTH` × `HEIGHT`, the newest point at the right edge. `top` is the value at the upper edge."""

    path: str
    top: int
    newest: int


def curve(points: Iterable[Point], value: Callable[[Point], int], now: datetime) -> Curve:
    """Draw one number of a job. A time without readings is a gap."""
    points = list(points)
    values = [value(point) for point in points]
    top = max([1, *values])
    path: list[str] = []
    previous: datetime | None = None
    for point, number in zip(points, values, strict=True):
        x = WIDTH * (1 - (now - point.at) / SPAN)
        y = HEIGHT * (1 - number / top)
        starts = previous is None or point.at - previous > _GAP
        path.append(f"{'M' if starts else 'L'}{x:.1f} {y:.1f}")
        # A point alone would not show.
        if starts:
            path.append("h.1")
        previous = point.at
    return Curve("".join(path), top, values[-1] if values else 0)
