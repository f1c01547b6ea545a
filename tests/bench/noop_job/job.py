"""Job with an empty handler, as an author would write it."""

from keda_jobs import Context, Event, JobSettings, event_job


class Ping(Event, subject="ping"):
    """Event without work."""

    n: int


async def ping(event: Ping, job: Context[JobSettings]) -> None:
    """Do nothing."""


JOB = event_job(ping, JobSettings)
