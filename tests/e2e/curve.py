"""Number of pods over time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Self

from .cluster import JOBS, is_current, is_ready, objects

_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """Pods by app `at_s` seconds after the curve began: all, running, and ready."""

    at_s: float
    pods: dict[str, int]
    running: dict[str, int]
    ready: dict[str, int]


@dataclass
class Curve:
    """Samples taken in the background during a block."""

    apps: Sequence[str]
    samples: list[Sample] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._began_at = datetime.now(UTC)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self.samples.append(self._sample())

    @property
    def now_s(self) -> float:
        """Seconds since the curve began."""
        return time.monotonic() - self._began

    def seconds_at(self, moment: datetime) -> float:
        """Convert a moment of the cluster to seconds since the curve began."""
        return (moment - self._began_at) / timedelta(seconds=1)

    def between(self, from_s: float, to_s: float) -> list[Sample]:
        """Return the samples of a part of the time."""
        return [sample for sample in self.samples if from_s <= sample.at_s <= to_s]

    def highest(self, app: str) -> int:
        """Return the highest number of pods of an app."""
        return max(sample.pods[app] for sample in self.samples)

    def first_running_s(self, app: str, after_s: float = 0) -> float:
        """Return when the first pod of the app ran after `after_s`, in seconds since the curve began."""
        return next(sample.at_s for sample in self.samples if sample.at_s >= after_s and sample.running[app])

    def running(self, app: str, zero_s: float) -> list[tuple[float, int]]:
        """Return the number of running pods of an app by seconds after `zero_s`."""
        points = [(round(one.at_s - zero_s, 1), one.running[app]) for one in self.samples if one.at_s >= zero_s]
        changes = [next(group) for _, group in groupby(points, key=itemgetter(1))]
        return [*changes, points[-1]]

    def _watch(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            self.samples.append(self._sample())

    def _sample(self) -> Sample:
        listed = objects("pods", JOBS)
        of = {app: [pod for pod in listed if pod["metadata"]["labels"].get("app") == app] for app in self.apps}
        return Sample(
            self.now_s,
            {app: sum(map(is_current, pods)) for app, pods in of.items()},
            {app: sum(pod["status"].get("phase") == "Running" for pod in pods) for app, pods in of.items()},
            {app: sum(map(is_ready, pods)) for app, pods in of.items()},
        )
