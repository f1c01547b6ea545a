"""The job: what an author would write, with an empty handler."""

from keda_jobs import Context, Event, JobSettings, event_job


class Ping(Event, subject="ping"):
    """Nothing to do."""

    n: int


async def ping(event: Ping, job: Context[JobSettings]) -> None:
    """Do nothing."""


JOB = event_job(ping, JobSettings)
