"""Selection of stored events that a command sends or tries again: how it is typed, found and counted."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from rich.filesize import decimal

from keda_jobs.cli.connection import interruptible
from keda_jobs.cli.terminal import pluralize, progress_meter
from keda_jobs.jetstream.api import server_time
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import first_since
from keda_jobs.jetstream.rerun import Condition, Consumed, Selection, Survey, dead_sequences


class Outcome(StrEnum):
    """End of an event at a job."""

    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Request:
    """Request for events of a job, as typed. `into` and `python` are of a trial."""

    job: str
    from_seq: int | None
    to_seq: int | None
    where: tuple[Condition, ...]
    outcome: Outcome | None
    into: str | None = None
    python: str | None = None

    def command(self) -> str:
        """Return the command that asks for the same."""
        words = ["keda-jobs", "replay", self.job, "--from-seq", str(self.from_seq), "--to-seq", str(self.to_seq)]
        for condition in self.where:
            words += ["--where", str(condition)]
        for option, value in (("--outcome", self.outcome), ("--into", self.into), ("--python", self.python)):
            words += [option, value] if value else []
        return shlex.join(words)


async def survey_events(
    connection: NatsConnection, request: Request, since: timedelta | None
) -> tuple[Selection, Survey]:
    """Find and count the events. Raises `NoSuchJob`, `BrokerUnavailable`."""
    consumed = await Consumed.by(connection, request.job)
    last = min(consumed.last, request.to_seq or consumed.last)
    first = request.from_seq
    if since is not None:
        first = await first_since(connection, await server_time(connection) - since)
    only = await dead_sequences(connection, request.job) if request.outcome is Outcome.DEAD else None
    selection = Selection(request.job, consumed.subjects, first or last + 1, last, request.where, only)
    survey = Survey()
    with interruptible() as stop, progress_meter("count", None) as progress:
        await survey.take(connection, selection, stop, progress)
    return selection, survey


def describe(survey: Survey, job: str) -> str:
    """Return number, size and time of the events."""
    span = f"{survey.oldest:%Y-%m-%d %H:%M} to {survey.newest:%Y-%m-%d %H:%M} UTC"
    return f"{pluralize(survey.count, 'event')} of {job}, {decimal(survey.size)}, {span}"
