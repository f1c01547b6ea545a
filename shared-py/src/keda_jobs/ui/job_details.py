"""What the page of one job shows besides its numbers: due times, consumer settings, latest failures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from keda_jobs.domain.subjects import durable_name
from keda_jobs.jetstream.api import durable_consumers
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.dead_letter_search import Summary
from keda_jobs.jetstream.stream_diff import format_value, normalize
from keda_jobs.status.stream import DueTimes, read_due_times

BARS = 60
_NOT_SHOWN = ("durable_name", "metadata", "name")


class JobDetails:
    """Due times of a job's waiting retries and the settings of its consumer, both empty until they are read."""

    def __init__(self, job: str) -> None:
        self.due: DueTimes | None = None
        self.settings: dict[str, str] = {}
        self._job = job

    async def run(self, connection: NatsConnection) -> None:
        """Read both. Raises `BrokerUnavailable`."""
        self.due = await read_due_times(connection, self._job)
        name = durable_name(self._job)
        configs = [info["config"] for info in await durable_consumers(connection) if info["name"] == name]
        config = normalize(configs[0]) if configs else {}
        self.settings = {key: format_value(key, config[key]) for key in sorted(config) if key not in _NOT_SHOWN}


@dataclass(frozen=True, slots=True)
class Timeline:
    """Numbers of retries by the time at which they are due, in `BARS` equal parts from `start` to `end`."""

    start: datetime
    end: datetime
    counts: tuple[int, ...]

    @property
    def middle(self) -> datetime:
        """Time halfway."""
        return self.start + (self.end - self.start) / 2

    @property
    def top(self) -> int:
        """Largest number."""
        return max(self.counts)


def timeline(times: Iterable[datetime], now: datetime) -> Timeline | None:
    """Count times by part of the time axis, None without any. What is overdue counts as due now."""
    times = [max(one, now) for one in times]
    if not times:
        return None
    end = max(*times, now + timedelta(minutes=1))
    counts = [0] * BARS
    for one in times:
        counts[min(BARS - 1, int(BARS * ((one - now) / (end - now))))] += 1
    return Timeline(now, end, tuple(counts))


@dataclass(frozen=True, slots=True)
class Failures:
    """Number of dead letters of one class among the newest, and the newest of them."""

    error_class: str
    count: int
    newest: Summary


def by_class(newest_first: Iterable[Summary]) -> list[Failures]:
    """Count dead letters by class, the class that failed last on top."""
    groups: dict[str, list[Summary]] = {}
    for one in newest_first:
        groups.setdefault(one.error_class, []).append(one)
    return [Failures(error_class, len(group), group[0]) for error_class, group in groups.items()]
