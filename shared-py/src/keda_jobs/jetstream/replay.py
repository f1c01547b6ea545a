"""Replay of dead letters: to the job that failed, or to all consumers of the event's subject."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keda_jobs.domain.broker import MessageTooLarge, Outgoing
from keda_jobs.domain.dead_letter import TRUNCATED, DeadLetter
from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import DEAD_LETTER, covers, due_subject, fire_subject, is_literal
from keda_jobs.errors import JobError
from keda_jobs.jetstream.api import durable_consumers
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.dead_letters import DeadLetterFilter, delete_dead_letter, select_dead_letters
from keda_jobs.jetstream.publish import publish_with_retry
from keda_jobs.jetstream.reader import StoredMessage, read_message
from keda_jobs.jetstream.stream_diff import normalize
from keda_jobs.runtime.shutdown import wait_for

# nats-py stores times as float, so the job rounded the one it wrote.
_CLOCK_PRECISION = timedelta(milliseconds=1)

OnReplay = Callable[[DeadLetter, Outgoing], None]
"""Called with each dead letter and its copy, before the copy is published."""


class CannotReplay(JobError):
    """The dead letter cannot be replayed. It stays in the stream."""


@dataclass(slots=True)
class Replay:
    """Replay of dead letters, one by one. It counts as it goes."""

    to_subject: bool
    dry_run: bool
    per_second: float | None
    replayed: int = 0
    skipped: list[tuple[int, str]] = field(default_factory=list)
    interrupted: bool = False

    @property
    def done(self) -> int:
        """Number of dead letters that were replayed or skipped."""
        return self.replayed + len(self.skipped)

    async def run(
        self, connection: NatsConnection, selection: DeadLetterFilter, stop: asyncio.Event, on_replay: OnReplay
    ) -> None:
        """Replay the selected dead letters until the end or until `stop`, which takes effect between two of them.

        A dead letter is deleted when its copy is confirmed. If it could not be deleted, the next run publishes the copy
        again under the same id, and the server drops it within the stream's duplicate window.
        """
        subjects = await _read_subjects(connection)
        pace = _Pace(self.per_second, stop)
        selected = select_dead_letters(connection, selection, on_missing=self._skip_missing)
        async with aclosing(selected):
            async for dead in selected:
                if not await pace.next():
                    self.interrupted = True
                    return
                try:
                    outgoing = await self._copy(connection, dead, subjects)
                    on_replay(dead, outgoing)
                    if not self.dry_run:
                        await publish_with_retry(connection, outgoing)
                        await delete_dead_letter(connection, dead.sequence)
                    self.replayed += 1
                except (CannotReplay, MessageTooLarge) as error:
                    self.skipped.append((dead.sequence, str(error)))

    def _skip_missing(self, sequence: int) -> None:
        self.skipped.append((sequence, "there is no such dead letter (any more)"))

    async def _copy(self, connection: NatsConnection, dead: DeadLetter, subjects: frozenset[str]) -> Outgoing:
        payload = await _original_payload(connection, dead)
        outgoing = replay_message(dead, payload, to_subject=self.to_subject)
        read_at = dead.subject if self.to_subject else due_subject(dead.job)
        if not any(covers(pattern, read_at) for pattern in subjects):
            raise CannotReplay(f"no consumer reads {read_at}")
        return outgoing


class _Pace:
    """Limit of dead letters per second, which ends at `stop`."""

    def __init__(self, per_second: float | None, stop: asyncio.Event) -> None:
        self._gap_s = 1 / per_second if per_second else 0.0
        self._stop = stop
        self._next_at = time.monotonic()

    async def next(self) -> bool:
        """Wait for the next one's turn. Return False after `stop`."""
        await wait_for(self._stop, self._next_at - time.monotonic())
        self._next_at = max(self._next_at, time.monotonic()) + self._gap_s
        return not self._stop.is_set()


def replay_message(dead: DeadLetter, payload: bytes, *, to_subject: bool) -> Outgoing:
    """Build the event of `dead` again: for the job that failed, or with `to_subject` for all consumers of its subject.

    The copy carries neither the old id nor the old attempts, so it starts at attempt 1. Raises `CannotReplay`.
    """
    if not dead.subject:
        raise CannotReplay("not a dead letter of keda-jobs: it names no subject")
    if not is_literal(dead.subject) or dead.subject == DEAD_LETTER or dead.subject.startswith(("retry.", "$")):
        raise CannotReplay(f"nothing can be replayed to the subject {dead.subject}")
    msg_id = f"replay:{dead.sequence}"
    if to_subject:
        return Outgoing(dead.subject, payload, msg_id, dead.original_headers)
    if not dead.job:
        raise CannotReplay("it names no job: replay it to all consumers of its subject with --to-subject")
    headers = dead.original_headers | {Header.SUBJECT: dead.subject}
    return Outgoing(fire_subject(dead.job), payload, msg_id, headers)


async def _original_payload(connection: NatsConnection, dead: DeadLetter) -> bytes:
    if dead.kind != TRUNCATED:
        return dead.payload
    sequence = dead.headers.get(Header.SEQUENCE, "")
    original = await read_message(connection, int(sequence)) if sequence.isdecimal() else None
    if original is None or not is_original(dead, original):
        raise CannotReplay(
            f"its data is truncated, and the whole event (message {sequence}) is no longer in the stream"
        )
    return original.data


def is_original(dead: DeadLetter, stored: StoredMessage) -> bool:
    """Return whether `stored` is the event of the truncated `dead`, and not another one with the same number."""
    published_at = dead.headers.get(Header.PUBLISHED_AT, "")
    with suppress(ValueError):
        return (
            stored.headers.get(Header.SUBJECT, stored.subject) == dead.subject
            and str(len(stored.data)) == dead.headers.get(Header.SIZE)
            and abs(stored.stored_at - datetime.fromisoformat(published_at)) < _CLOCK_PRECISION
        )
    return False


async def _read_subjects(connection: NatsConnection) -> frozenset[str]:
    """Return the subjects that some consumer reads. An event on another one would wait until it expires."""
    configs = [normalize(info["config"]) for info in await durable_consumers(connection)]
    return frozenset(subject for config in configs for subject in config.get("filter_subjects") or [">"])
