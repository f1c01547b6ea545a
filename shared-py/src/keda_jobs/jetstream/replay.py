"""Gives dead letters back to the job that failed, or to all consumers of their subject."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from nats.aio.client import Client

from keda_jobs.domain.broker import Outgoing, TooLarge
from keda_jobs.domain.dead_letter import TRUNCATED, DeadLetter
from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import DEAD_LETTER, covers, due_subject, is_literal
from keda_jobs.errors import JobError
from keda_jobs.jetstream.dead_letters import delete
from keda_jobs.jetstream.flow import message_at
from keda_jobs.jetstream.publish import publish
from keda_jobs.jetstream.reader import Stored
from keda_jobs.jetstream.stream_diff import normal
from keda_jobs.jetstream.streams import durable_consumers

# nats-py's times come through a float.
_CLOCK_GRAIN = timedelta(milliseconds=1)


class CannotReplay(JobError):
    """This letter cannot be replayed; it stays where it is."""


Watch = Callable[[DeadLetter, Outgoing], None]
"""Told of each letter and its copy, before the copy is published."""


@dataclass(slots=True)
class Tally:
    """What a replay did."""

    replayed: int = 0
    skipped: list[tuple[int, str]] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """How letters are given back."""

    to_subject: bool
    dry_run: bool
    per_second: float | None

    async def run(
        self, client: Client, letters: AsyncIterator[DeadLetter], stop: asyncio.Event, tally: Tally, watch: Watch
    ) -> None:
        """Replay `letters` one by one until the end or until `stop`, which never cuts one in two.

        A letter is deleted when its copy is confirmed. A copy whose letter was not deleted any more is made
        again by the next run under the same id, which the server drops within the stream's duplicate window.
        """
        subjects = await _read_subjects(client)
        pace = _Pace(self.per_second, stop)
        async for letter in letters:
            if not await pace.go_on():
                tally.interrupted = True
                return
            try:
                outgoing = await self._outgoing(client, letter, subjects)
                watch(letter, outgoing)
                if not self.dry_run:
                    await publish(client, outgoing)
                    await delete(client, letter.sequence)
                tally.replayed += 1
            except (CannotReplay, TooLarge) as error:
                tally.skipped.append((letter.sequence, str(error)))

    async def _outgoing(self, client: Client, letter: DeadLetter, subjects: frozenset[str]) -> Outgoing:
        outgoing = replay_message(letter, await _payload(client, letter), to_subject=self.to_subject)
        if not any(covers(pattern, outgoing.subject) for pattern in subjects):
            raise CannotReplay(f"no consumer reads {outgoing.subject}")
        return outgoing


class _Pace:
    """At most so many letters a second, and none after `stop`."""

    def __init__(self, per_second: float | None, stop: asyncio.Event) -> None:
        self._gap_s = 1 / per_second if per_second else 0.0
        self._stop = stop
        self._next = time.monotonic()

    async def go_on(self) -> bool:
        """Wait for the next letter's turn; False when there is none any more."""
        wait_s = self._next - time.monotonic()
        if wait_s > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait_s)
        self._next = max(self._next, time.monotonic()) + self._gap_s
        return not self._stop.is_set()


def replay_message(letter: DeadLetter, payload: bytes, *, to_subject: bool) -> Outgoing:
    """The event of `letter` again: to the job that failed, or with `to_subject` to all consumers of its subject.

    Attempts are counted afresh: the copy carries neither the old id nor the old count. Raises `CannotReplay`.
    """
    if not letter.subject:
        raise CannotReplay("not a dead letter of keda-jobs: it names no subject")
    if not is_literal(letter.subject) or letter.subject == DEAD_LETTER or letter.subject.startswith(("retry.", "$")):
        raise CannotReplay(f"nothing can be replayed to the subject {letter.subject}")
    msg_id = f"replay:{letter.sequence}"
    if to_subject:
        return Outgoing(letter.subject, payload, msg_id, letter.original_headers)
    if not letter.job:
        raise CannotReplay("it names no job: replay it to all consumers of its subject with --to-subject")
    return Outgoing(
        due_subject(letter.job), payload, msg_id, letter.original_headers | {Header.SUBJECT: letter.subject}
    )


async def _payload(client: Client, letter: DeadLetter) -> bytes:
    if letter.kind != TRUNCATED:
        return letter.payload
    sequence = letter.headers.get(Header.SEQUENCE, "")
    original = await message_at(client, int(sequence)) if sequence.isdecimal() else None
    if original is None or not is_original(letter, original):
        raise CannotReplay(f"its data is cut short, and the whole event (message {sequence}) is gone from the stream")
    return original.data


def is_original(letter: DeadLetter, stored: Stored) -> bool:
    """Whether `stored` is the event whose data `letter` holds cut short, and not another one under its number."""
    published_at = letter.headers.get(Header.PUBLISHED_AT, "")
    with suppress(ValueError):
        return (
            stored.headers.get(Header.SUBJECT, stored.subject) == letter.subject
            and str(len(stored.data)) == letter.headers.get(Header.SIZE)
            and abs(stored.stored_at - datetime.fromisoformat(published_at)) < _CLOCK_GRAIN
        )
    return False


async def _read_subjects(client: Client) -> frozenset[str]:
    """The subjects that some consumer reads; an event published on another one would wait until it ages out."""
    configs = [normal(info["config"]) for info in await durable_consumers(client)]
    return frozenset(subject for config in configs for subject in config.get("filter_subjects") or [">"])
