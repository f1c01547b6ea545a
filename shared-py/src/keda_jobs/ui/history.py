"""Numbers of each job over the last hour, kept in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

SPAN = timedelta(hours=1)
_STEP = timedelta(seconds=10)
_POINTS = SPAN // _STEP
_RATE_OVER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Point:
    """Numbers of one job at one time. `done` counts what has ended since some time in the past."""

    at: datetime
    lag: int
    in_flight: int
    waiting: int
    dead: int
    done: int


class History:
    """Points of each job that exists: the newest one, and before it one every ten seconds at most."""

    def __init__(self) -> None:
        self._points: dict[str, deque[Point]] = {}

    def add(self, points: Mapping[str, Point]) -> None:
        """Add the newest point of each job. A job that is not among them has ended, and is forgotten."""
        self._points = {job: self._points.get(job, deque(maxlen=_POINTS)) for job in points}
        for job, point in points.items():
            kept = self._points[job]
            if len(kept) > 1 and point.at - kept[-2].at < _STEP:
                kept.pop()
            kept.append(point)

    def points(self, job: str, now: datetime) -> list[Point]:
        """Return the points of the last hour, oldest first."""
        return [point for point in self._points.get(job, ()) if now - point.at <= SPAN]

    def rate(self, job: str, newest: Point) -> float | None:
        """Return how many a second have ended during the last minute or so, None before there are two points."""
        earlier = [point for point in self._points.get(job, ()) if point.at < newest.at]
        if not earlier:
            return None
        recent = [point for point in earlier if newest.at - point.at <= _RATE_OVER]
        since = recent[0] if recent else earlier[-1]
        # A consumer that was made again counts from 0.
        return max(0, newest.done - since.done) / (newest.at - since.at).total_seconds()
