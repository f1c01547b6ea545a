"""`python -m noop_job`: what an author would write, with an empty handler."""

from keda_jobs import Context, Event, JobSettings, run


class Ping(Event, subject="ping"):
    """Nothing to do."""

    n: int


async def ping(event: Ping, job: Context[JobSettings]) -> None:
    """Do nothing."""


if __name__ == "__main__":
    run(ping, JobSettings)
