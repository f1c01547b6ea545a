"""The retries that wait as scheduled messages."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import waiting_subject
from keda_jobs.jetstream.connection import Client
from keda_jobs.jetstream.reader import moment, page

# So many are looked at for the next due, which takes some 50 ms. The stream keeps them in the order in which they were
# scheduled, and the server has no other.
MOST_SCHEDULES = 1000


@dataclass(frozen=True, slots=True)
class WaitingRetries:
    """A job's scheduled retries; where `is_exact` is false one of them may be due earlier than `next_due`."""

    job: str
    count: int
    next_due: datetime | None
    is_exact: bool


async def waiting_retries(client: Client, job: str) -> WaitingRetries:
    """Those of `job`. Raises `BrokerUnavailable`."""
    found = await page(client, waiting_subject(job, ">"), 1, MOST_SCHEDULES)
    due: list[datetime] = []
    for schedule in found.messages:
        with suppress(ValueError):
            due.append(moment(schedule.headers.get(Header.SCHEDULE, "").removeprefix("@at ")))
    return WaitingRetries(job, found.count, min(due, default=None), is_exact=not found.left)
