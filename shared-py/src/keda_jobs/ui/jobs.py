"""Jobs of both kinds as rows of one table, with their numbers of the last hour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from keda_jobs.status.batch import BatchStatus
from keda_jobs.status.overview import Overview
from keda_jobs.ui.history import History, Point


@dataclass(frozen=True, slots=True)
class JobRow:
    """Numbers of one job. `unit` is what it works on. Where `dead_is_exact` is false, there are more dead letters."""

    name: str
    unit: str
    newest: Point
    rate: float | None
    oldest: datetime | None
    next_due: datetime | None
    dead_is_exact: bool
    has_consumer: bool


def event_points(overview: Overview) -> dict[str, Point]:
    """Return the newest point of each job that has a consumer, a waiting retry or a dead letter."""
    consumers = {one.job: one for one in overview.consumers}
    waiting = {one.job: one.count for one in overview.waiting_retries}
    points = {}
    for job in sorted(consumers.keys() | waiting.keys() | overview.dead_letters.by_job.keys()):
        consumer = consumers.get(job)
        points[job] = Point(
            at=overview.now,
            lag=consumer.lag if consumer else 0,
            in_flight=consumer.num_ack_pending if consumer else 0,
            waiting=waiting.get(job, 0),
            dead=overview.dead_letters.by_job.get(job, 0),
            done=consumer.delivered - consumer.num_ack_pending if consumer else 0,
        )
    return points


def row_points(batches: tuple[BatchStatus, ...]) -> dict[str, Point]:
    """Return the newest point of each batch job."""
    return {
        one.table.batch_name: Point(
            at=one.now,
            lag=one.claimable,
            in_flight=one.counts.processing,
            waiting=one.counts.waiting,
            dead=one.counts.failed_permanently,
            done=one.counts.done,
        )
        for one in batches
    }


def event_rows(overview: Overview, history: History) -> Iterator[JobRow]:
    """Yield the rows of the jobs that read events."""
    due = {one.job: one.next_due for one in overview.waiting_retries}
    consumers = {one.job: one.name for one in overview.consumers}
    for job, point in event_points(overview).items():
        yield JobRow(
            name=job,
            unit="events",
            newest=point,
            rate=history.rate(job, point),
            oldest=overview.oldest_unacked.get(consumers.get(job, "")),
            next_due=due.get(job),
            dead_is_exact=overview.dead_letters.is_exact,
            has_consumer=job in consumers,
        )


def batch_rows(batches: tuple[BatchStatus, ...]) -> Iterator[JobRow]:
    """Yield the rows of the batch jobs."""
    points = row_points(batches)
    for one in batches:
        job = one.table.batch_name
        yield JobRow(
            name=job,
            unit="rows",
            newest=points[job],
            rate=one.rows_per_s,
            oldest=None,
            next_due=one.next_due,
            dead_is_exact=True,
            has_consumer=True,
        )
