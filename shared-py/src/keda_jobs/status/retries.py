"""Retries that wait as scheduled messages."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import waiting_subject
from keda_jobs.jetstream.api import parse_time
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import read_page

# Reading this many takes about 50 ms. The stream keeps retries in the order in which they were scheduled, and the
# server has no other order.
MAX_SCHEDULES = 1000


@dataclass(frozen=True, slots=True)
class WaitingRetries:
    """A job's scheduled retries. Where `is_exact` is false, one of them may be due before `next_due`."""

    job: str
    count: int
    next_due: datetime | None
    is_exact: bool


async def read_waiting_retries(connection: NatsConnection, job: str) -> WaitingRetries:
    """Read the waiting retries of `job`. Raises `BrokerUnavailable`."""
    page = await read_page(connection, waiting_subject(job, ">"), 1, MAX_SCHEDULES)
    due: list[datetime] = []
    for schedule in page.messages:
        with suppress(ValueError):
            due.append(parse_time(schedule.headers.get(Header.SCHEDULE, "").removeprefix("@at ")))
    return WaitingRetries(job, page.count, min(due, default=None), is_exact=not page.left)
