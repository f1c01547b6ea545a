"""Events that the stream still holds, sent once more to one job and to no other."""

from __future__ import annotations

import asyncio
import json
import operator
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from keda_jobs.domain.broker import MessageTooLarge, Outgoing
from keda_jobs.domain.headers import Header, application_headers
from keda_jobs.domain.subjects import DEAD_LETTER, due_subject, durable_name, fire_subject
from keda_jobs.errors import JobError
from keda_jobs.jetstream.api import durable_consumers
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.publish import publish_with_retry
from keda_jobs.jetstream.reader import StoredMessage, read_all
from keda_jobs.jetstream.replay import Pace
from keda_jobs.jetstream.stream_diff import normalize

_MISSING = object()
_OPERATORS: dict[str, Callable[[str, str], bool]] = {"~": operator.contains, "=": operator.eq}


class NoSuchJob(JobError):
    """No consumer of the stream belongs to the job."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Condition on a field of the event, such as `url~png` (contains) or `user.id=7` (is)."""

    path: tuple[str, ...]
    operator: str
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a condition. Raises `ValueError`."""
        positions = [position for sign in _OPERATORS if (position := text.find(sign)) > 0]
        if not positions:
            raise ValueError(f"{text!r} is no condition such as url~png or user.id=7")
        split = min(positions)
        return cls(tuple(text[:split].split(".")), text[split], text[split + 1 :])

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return f"{'.'.join(self.path)}{self.operator}{self.text}"

    def matches(self, event: Any) -> bool:
        """Return whether the field is there and meets the condition. Values that are no strings count as JSON."""
        for name in self.path:
            event = event.get(name, _MISSING) if isinstance(event, dict) else _MISSING
        if event is _MISSING:
            return False
        value = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
        return _OPERATORS[self.operator](value, self.text)


@dataclass(frozen=True, slots=True)
class Selection:
    """Events of one job in a range of the stream, that meet all conditions. `only`, if given, has their numbers."""

    job: str
    subjects: frozenset[str]
    first: int
    last: int
    conditions: tuple[Condition, ...] = ()
    only: frozenset[int] | None = None

    async def events(self, connection: NatsConnection) -> AsyncGenerator[StoredMessage]:
        """Yield the selected events, oldest first. Raises `BrokerUnavailable`."""
        # All event subjects of a job are one, unless somebody changed its consumer.
        pattern = next(iter(self.subjects)) if len(self.subjects) == 1 else ">"
        async with aclosing(read_all(connection, pattern, first=self.first, last=self.last)) as messages:
            async for message in messages:
                if self._matches(message):
                    yield message

    def _matches(self, message: StoredMessage) -> bool:
        if message.subject not in self.subjects or (self.only is not None and message.sequence not in self.only):
            return False
        if not self.conditions:
            return True
        try:
            event = json.loads(message.data)
        except (ValueError, RecursionError):
            return False
        return all(condition.matches(event) for condition in self.conditions)


@dataclass(slots=True)
class Survey:
    """Number, size and time of the selected events."""

    count: int = 0
    size: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    is_whole: bool = False
    """True once all were counted."""

    async def take(
        self, connection: NatsConnection, selection: Selection, stop: asyncio.Event, progress: Callable[[int], None]
    ) -> None:
        """Count until the end or until `stop`. Call `progress` with the number so far."""
        async with aclosing(selection.events(connection)) as events:
            async for event in events:
                if stop.is_set():
                    return
                self.count += 1
                self.size += len(event.data)
                self.oldest, self.newest = self.oldest or event.stored_at, event.stored_at
                progress(self.count)
        self.is_whole = True


@dataclass(frozen=True, slots=True)
class Consumed:
    """Subjects that a job's consumer reads, and the number up to which it has been given all."""

    subjects: frozenset[str]
    last: int

    @classmethod
    async def by(cls, connection: NatsConnection, job: str) -> Self:
        """Ask for the job's consumer. Raises `NoSuchJob`, `BrokerUnavailable`."""
        for info in await durable_consumers(connection):
            if info["config"]["durable_name"] == durable_name(job):
                filters = frozenset(normalize(info["config"]).get("filter_subjects") or ())
                return cls(filters - {due_subject(job)}, int(info["delivered"]["stream_seq"]))
        raise NoSuchJob(
            f"there is no job {job} here: no consumer is called {durable_name(job)}; see `keda-jobs status`"
        )


async def dead_sequences(connection: NatsConnection, job: str) -> frozenset[int]:
    """Return the numbers of the events of which the job has a dead letter. Raises `BrokerUnavailable`."""
    found: set[int] = set()
    async with aclosing(read_all(connection, DEAD_LETTER)) as messages:
        async for message in messages:
            sequence = message.headers.get(Header.SEQUENCE, "")
            if message.headers.get(Header.JOB) == job and sequence.isascii() and sequence.isdecimal():
                found.add(int(sequence))
    return frozenset(found)


@dataclass(slots=True)
class Rerun:
    """Rerun of selected events, one by one. It counts as it goes."""

    per_second: float | None
    on_skip: Callable[[int, str], None]
    next_sequence: int
    """Number from which on nothing was confirmed, where to continue after an interruption."""
    sent: int = 0
    skipped: int = 0
    interrupted: bool = False

    async def run(
        self, connection: NatsConnection, selection: Selection, stop: asyncio.Event, progress: Callable[[int], None]
    ) -> None:
        """Send the selected events to the job until the end or until `stop`, which takes effect between two of them.

        Call `progress` with the number that was sent or skipped. Raises as `publish`.
        """
        pace, run_id = Pace(self.per_second, stop), uuid.uuid4()
        async with aclosing(selection.events(connection)) as events:
            async for event in events:
                self.next_sequence = event.sequence
                if not await pace.next():
                    self.interrupted = True
                    return
                copy = _copy(event, selection.job, f"rerun:{run_id}:{event.sequence}")
                try:
                    await publish_with_retry(connection, copy)
                    self.sent += 1
                except MessageTooLarge as error:
                    self.skipped += 1
                    self.on_skip(event.sequence, str(error))
                progress(self.sent + self.skipped)


def _copy(event: StoredMessage, job: str, msg_id: str) -> Outgoing:
    """Build the event again, for `job` alone. It carries no earlier attempts, so it starts at attempt 1."""
    headers = {**application_headers(event.headers), Header.SUBJECT: event.subject}
    return Outgoing(fire_subject(job), event.data, msg_id, headers)
