"""Long work that runs now, as its pods report it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from keda_jobs.domain.identity import Identity, nanoseconds
from keda_jobs.domain.long_work import Report
from keda_jobs.domain.subjects import LONG_STREAM, PROGRESS, due_subject, progress_subject
from keda_jobs.errors import JobError
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import StoredMessage, read_message, read_page
from keda_jobs.jetstream.rerun import Consumed

MAX_RUNNING = 1000

_NUMBER = re.compile("[1-9][0-9]{0,18}", re.ASCII)


class NoSuchMessage(JobError):
    """The stream holds no such message of the job, and no pod works on it."""


@dataclass(frozen=True, slots=True)
class LongWork:
    """Message that a pod works on. `id` is that of the log, and of `keda-jobs cancel`."""

    job: str
    id: str
    pod: str
    attempt: int
    started_at: datetime
    done: float | None
    total: float | None
    text: str


async def read_long_work(connection: NatsConnection, pattern: str = f"{PROGRESS}.>") -> tuple[LongWork, ...]:
    """Read what runs, by job and start, at most `MAX_RUNNING`. Raises `BrokerUnavailable`."""
    page = await read_page(connection, pattern, 1, MAX_RUNNING, LONG_STREAM)
    return tuple(sorted(_works(page.messages), key=lambda work: (work.job, work.started_at, work.id)))


async def is_running(connection: NatsConnection, message: Identity) -> bool:
    """Return whether a pod works on a message. Raises `BrokerUnavailable`."""
    return bool(await read_long_work(connection, progress_subject(message.job, str(message))))


async def find_message(connection: NatsConnection, job: str, text: str) -> Identity:
    """Return the message that `text` names: its id, or the number of its event in the stream.

    Raises `NoSuchJob`, `NoSuchMessage`, `BrokerUnavailable`.
    """
    subjects = {*(await Consumed.by(connection, job)).subjects, due_subject(job)}
    identity = Identity.parse(text, job)
    number = identity.sequence if identity else int(text) if _NUMBER.fullmatch(text) else 0
    stored = await read_message(connection, number) if number else None
    if stored is not None and stored.subject in subjects:
        found = Identity(job, number, nanoseconds(stored.headers["Nats-Time-Stamp"]))
        if identity in (None, found):
            return found
    # The stream keeps an event for 14 days, and a message with its retries may take longer.
    if identity is not None and await is_running(connection, identity):
        return identity
    raise NoSuchMessage(f"{job} has no message {text!r}; `keda-jobs status` lists those that run")


def _works(messages: tuple[StoredMessage, ...]) -> Iterator[LongWork]:
    for message in messages:
        *_, job, message_id = message.subject.split(".")
        try:
            report = Report.model_validate_json(message.data)
        except ValidationError:
            continue
        if not report.ended:
            yield LongWork(job, message_id, **report.model_dump(exclude={"ended"}))
