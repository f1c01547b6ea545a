"""Replay of dead letters: to the job that failed, or to all consumers of the event's subject."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from keda_jobs.domain.broker import MessageTooLarge, Outgoing
from keda_jobs.domain.dead_letter import DeadLetter, digest
from keda_jobs.domain.headers import Header, application_headers
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.subjects import DEAD_LETTER, covers, due_subject, fire_subject, is_literal
from keda_jobs.errors import JobError
from keda_jobs.jetstream.api import durable_consumers
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.dead_letters import (
    NO_DEAD_LETTER,
    DeadLetterFilter,
    Snapshot,
    delete_dead_letter,
    find_dead_letter,
    select_dead_letters,
)
from keda_jobs.jetstream.publish import publish_with_retry
from keda_jobs.jetstream.reader import read_message
from keda_jobs.jetstream.stream_diff import normalize
from keda_jobs.runtime.shutdown import wait_for

# One a day.
_SLOWEST = 1 / 86_400

OnReplay = Callable[[DeadLetter, Outgoing], None]
"""Called with each dead letter and its copy, before the copy is published."""
OnSkip = Callable[[int, str], None]
"""Called with the number of each dead letter that is not replayed, and the reason."""


class CannotReplay(JobError):
    """The dead letter cannot be replayed. It stays in the stream."""


@dataclass(slots=True)
class Replay:
    """Replay of dead letters, one by one. It counts as it goes."""

    to_subject: bool
    dry_run: bool
    per_second: float | None
    on_skip: OnSkip
    replayed: int = 0
    skipped: int = 0
    interrupted: bool = False

    @property
    def done(self) -> int:
        """Number of dead letters that were replayed or skipped."""
        return self.replayed + self.skipped

    async def run(
        self,
        connection: NatsConnection,
        selection: DeadLetterFilter,
        stop: asyncio.Event,
        on_replay: OnReplay,
        snapshot: Snapshot | None = None,
    ) -> None:
        """Replay the selected dead letters until the end or until `stop`, which takes effect between two of them.

        They are those of `snapshot`, by default those of now.

        A dead letter is deleted when its copy is confirmed. If it could not be deleted, the next run publishes the copy
        again under the same id, and the server drops it within the stream's duplicate window.
        """
        subjects = await _read_subjects(connection)
        pace = Pace(self.per_second, stop)
        snapshot = snapshot or await Snapshot.take(connection)
        selected = select_dead_letters(connection, selection, snapshot, on_missing=self._skip)
        async with aclosing(selected):
            async for selected_dead in selected:
                if not await pace.next():
                    self.interrupted = True
                    return
                # It was read in a page, some time ago. Somebody else may have replayed or deleted it since.
                dead = await find_dead_letter(connection, selected_dead.sequence)
                if dead is not None:
                    await self._replay(connection, dead, subjects, on_replay)
                elif selection.sequences:
                    self._skip(selected_dead.sequence, NO_DEAD_LETTER)

    async def _replay(
        self, connection: NatsConnection, dead: DeadLetter, subjects: frozenset[str], on_replay: OnReplay
    ) -> None:
        try:
            outgoing = await self._copy(connection, dead, subjects)
            on_replay(dead, outgoing)
            if not self.dry_run:
                await publish_with_retry(connection, outgoing)
                await delete_dead_letter(connection, dead.sequence)
        except (CannotReplay, MessageTooLarge) as error:
            self._skip(dead.sequence, str(error))
        else:
            self.replayed += 1

    def _skip(self, sequence: int, reason: str) -> None:
        self.skipped += 1
        self.on_skip(sequence, reason)

    async def _copy(self, connection: NatsConnection, dead: DeadLetter, subjects: frozenset[str]) -> Outgoing:
        """Build the copy. Raises `CannotReplay`, `MessageTooLarge`."""
        read_at = replay_subject(dead, to_subject=self.to_subject)
        if not any(covers(pattern, read_at) for pattern in subjects):
            raise CannotReplay(f"no consumer reads {read_at}")
        payload, headers = await read_original(connection, dead)
        outgoing = replay_message(dead, payload, headers, to_subject=self.to_subject)
        # A dry run names what is too large as well.
        outgoing.wire_headers(connection.max_payload)
        return outgoing


def parse_rate(text: str) -> float:
    """Parse a rate such as `20` or `20/s`, in messages per second. Raises `ValueError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/s)?", text)
    if match is None or not _SLOWEST <= float(match[1]) < math.inf:
        raise ValueError(f"{text!r} is not a rate such as 20/s or 0.5/s")
    return float(match[1])


class Pace:
    """Limit of messages per second, which ends at `stop`."""

    def __init__(self, per_second: float | None, stop: asyncio.Event) -> None:
        self._gap_s = 1 / per_second if per_second else 0.0
        self._stop = stop
        self._next_at = time.monotonic()

    async def next(self) -> bool:
        """Wait for the next one's turn. Return False after `stop`."""
        await wait_for(self._stop, self._next_at - time.monotonic())
        self._next_at = max(self._next_at, time.monotonic()) + self._gap_s
        return not self._stop.is_set()


def replay_subject(dead: DeadLetter, *, to_subject: bool) -> str:
    """Return where the copy is read: by the job that failed, or with `to_subject` by all consumers of the event.

    Raises `CannotReplay`.
    """
    if not dead.subject:
        raise CannotReplay("not a dead letter of keda-jobs: it names no subject")
    if not is_literal(dead.subject) or dead.subject == DEAD_LETTER or dead.subject.startswith(("retry.", "$")):
        raise CannotReplay(f"nothing can be replayed to the subject {dead.subject}")
    if to_subject:
        return dead.subject
    if not dead.job:
        raise CannotReplay("it names no job: replay it to all consumers of its subject with --to-subject")
    return due_subject(dead.job)


def replay_message(dead: DeadLetter, payload: bytes, headers: Mapping[str, str], *, to_subject: bool) -> Outgoing:
    """Build the event of `dead` again: for the job that failed, or with `to_subject` for all consumers of its subject.

    The copy carries neither the old id nor the old attempts, so it starts at attempt 1. The server's time in its id
    keeps that from being guessed, and from being used again after a stream was deleted.
    """
    target = dead.subject if to_subject else fire_subject(dead.job)
    msg_id = Identity.of("replay", dead.sequence, dead.died_at).msg_id(target)
    return Outgoing(target, payload, msg_id, headers if to_subject else {**headers, Header.SUBJECT: dead.subject})


async def read_original(connection: NatsConnection, dead: DeadLetter) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of the event to the byte, from the dead letter or from the stream.

    Raises `CannotReplay`.
    """
    if dead.original is not None:
        return dead.original, dead.original_headers
    sequence = dead.headers.get(Header.SEQUENCE, "")
    stored = await read_message(connection, int(sequence)) if re.fullmatch("[0-9]{1,19}", sequence) else None
    if stored is None or digest(stored.data) != dead.headers.get(Header.SHA256):
        raise CannotReplay(
            f"it does not hold the exact event, and message {sequence or '-'} of the stream is another one or gone; "
            "docs/dead-letters.md says how to publish what it holds"
        )
    return stored.data, application_headers(stored.headers)


async def _read_subjects(connection: NatsConnection) -> frozenset[str]:
    """Return the subjects that some consumer reads. An event on another one would wait until it expires."""
    configs = [normalize(info["config"]) for info in await durable_consumers(connection)]
    return frozenset(subject for config in configs for subject in config.get("filter_subjects") or [">"])
