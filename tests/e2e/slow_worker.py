"""Job whose messages say how long they take: long in the package `long_worker`, an ordinary event job elsewhere."""

from __future__ import annotations

import asyncio

from keda_jobs import Context, Event, JobSettings, event_job
from keda_jobs.long import LongContext, LongSettings, long_job


class Slow(Event, subject="slow"):
    """Event of work that takes some seconds."""

    seconds: int


async def work(event: Slow, _job: Context[JobSettings]) -> None:
    """Take the time."""
    await asyncio.sleep(event.seconds)


async def work_long(event: Slow, job: LongContext[LongSettings]) -> None:
    """Take the time, and say how far it is."""
    for second in range(event.seconds):
        job.progress(second, event.seconds, "seconds")
        await asyncio.sleep(1)


JOB = long_job(work_long, LongSettings) if __name__.startswith("long_") else event_job(work, JobSettings)
