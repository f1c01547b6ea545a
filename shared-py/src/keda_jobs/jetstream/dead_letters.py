"""Dead letters in the stream: find them, count them, delete them."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from keda_jobs.domain.dead_letter import DeadLetter, parse_dead_letter
from keda_jobs.domain.subjects import DEAD_LETTER, STREAM
from keda_jobs.jetstream.api import ApiError, request, stream_info
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import StoredMessage, read_all, read_message, read_page

Group = tuple[str, str, str]
"""Job, error class and subject."""
OnMissing = Callable[[int, str], None]

NO_DEAD_LETTER = "there is no such dead letter (any more)"


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Conditions for dead letters. An empty one matches all."""

    sequences: frozenset[int] = frozenset()
    subject: str | None = None
    job: str | None = None
    error_class: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None
    text: str | None = None
    """Part of the reason, the data or a header's value, in any case."""

    @property
    def is_everything(self) -> bool:
        """True without any condition."""
        return self == DeadLetterFilter()

    def matches(self, dead: DeadLetter, now: datetime) -> bool:
        """Return whether `dead` meets all conditions at the time `now`."""
        age = now - dead.died_at
        return (
            (not self.sequences or dead.sequence in self.sequences)
            and self.subject in (None, dead.subject)
            and self.job in (None, dead.job)
            and self.error_class in (None, dead.error_class)
            and (self.older_than is None or age > self.older_than)
            and (self.newer_than is None or age < self.newer_than)
            and (self.text is None or self._is_in(dead, self.text.casefold()))
        )

    @staticmethod
    def _is_in(dead: DeadLetter, text: str) -> bool:
        values = (dead.reason, dead.text, *dead.original_headers.values())
        return any(text in value.casefold() for value in values)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Moment of the stream: the server's time, which also stamps dead letters, and the last sequence."""

    now: datetime
    last: int

    @classmethod
    async def take(cls, connection: NatsConnection) -> Self:
        """Take the snapshot. Raises `StreamMissing`, `BrokerUnavailable`."""
        info = await stream_info(connection)
        return cls(datetime.fromisoformat(info["ts"]), int(info["state"]["last_seq"]))


BEFORE_ALL = Snapshot(datetime.fromtimestamp(0, UTC), 0)
"""Moment at which there was no dead letter yet."""


def _ignore(_sequence: int, _reason: str) -> None:
    """Ignore a selected number without a dead letter."""


def _ignore_progress(_sequence: int) -> None:
    """Ignore the progress."""


async def select_dead_letters(
    connection: NatsConnection,
    selection: DeadLetterFilter,
    snapshot: Snapshot,
    *,
    first: int = 1,
    on_missing: OnMissing = _ignore,
    on_read: Callable[[int], None] = _ignore_progress,
) -> AsyncGenerator[DeadLetter]:
    """Yield the selected dead letters of `snapshot`, oldest first, from sequence `first` on.

    Call `on_missing` with each selected number without a dead letter, and the reason, and `on_read` with the number of
    each dead letter that was looked at. Raises `BrokerUnavailable`.
    """
    if selection.sequences:
        for sequence in sorted(selection.sequences):
            dead = await find_dead_letter(connection, sequence)
            if dead is None:
                on_missing(sequence, NO_DEAD_LETTER)
            elif not selection.matches(dead, snapshot.now):
                on_missing(sequence, "a filter excludes it")
            else:
                yield dead
        return
    async with aclosing(read_all(connection, DEAD_LETTER, first=first, last=snapshot.last)) as messages:
        async for message in messages:
            on_read(message.sequence)
            dead = parse_stored(message)
            if selection.matches(dead, snapshot.now):
                yield dead


async def find_dead_letter(connection: NatsConnection, sequence: int) -> DeadLetter | None:
    """Return the dead letter with this number, if there is one."""
    message = await read_message(connection, sequence)
    return parse_stored(message) if message is not None and message.subject == DEAD_LETTER else None


def parse_stored(message: StoredMessage) -> DeadLetter:
    """Parse a stored message as a dead letter."""
    return parse_dead_letter(message.sequence, message.stored_at, message.data, message.headers)


async def find_newest(
    connection: NatsConnection, selection: DeadLetterFilter, snapshot: Snapshot, limit: int
) -> tuple[int, int]:
    """Return the number of the first of the newest `limit` selected dead letters, and how many are selected in all."""
    newest: deque[int] = deque(maxlen=limit)
    total = 0
    async with aclosing(select_dead_letters(connection, selection, snapshot)) as selected:
        async for dead in selected:
            newest.append(dead.sequence)
            total += 1
    return newest[0] if newest else snapshot.last + 1, total


@dataclass(slots=True)
class DeadLetterSurvey:
    """Count of the selected dead letters by group, as they are at one moment. It counts as it goes.

    `missing` has each selected number without a dead letter, and the reason.
    """

    selection: DeadLetterFilter
    snapshot: Snapshot = BEFORE_ALL
    groups: Counter[Group] = field(default_factory=Counter)
    missing: list[tuple[int, str]] = field(default_factory=list)
    looked: int = 0
    stored: int = 0
    is_complete: bool = False

    async def run(self, connection: NatsConnection) -> None:
        """Count, from the start unless it is complete. Raises `BrokerUnavailable`."""
        if self.is_complete:
            return
        self.snapshot = await Snapshot.take(connection)
        self.stored = await count_from(connection, 1)
        self.groups.clear()
        self.missing.clear()
        self.looked = 0
        selected = select_dead_letters(
            connection, self.selection, self.snapshot, on_missing=self._miss, on_read=self._look
        )
        async with aclosing(selected):
            async for dead in selected:
                self.groups[dead.job, dead.error_class, dead.subject] += 1
        self.is_complete = True

    def _miss(self, sequence: int, reason: str) -> None:
        self.missing.append((sequence, reason))

    def _look(self, _sequence: int) -> None:
        self.looked += 1


async def count_from(connection: NatsConnection, first: int) -> int:
    """Return the number of dead letters from sequence `first` on. Raises `BrokerUnavailable`."""
    return (await read_page(connection, DEAD_LETTER, first, 1)).count


async def expected_count(connection: NatsConnection, selection: DeadLetterFilter) -> int | None:
    """Return the number of selected dead letters, where it is known without reading them."""
    if selection.sequences:
        return len(selection.sequences)
    if not selection.is_everything:
        return None
    return await count_from(connection, 1)


async def delete_dead_letter(connection: NatsConnection, sequence: int) -> bool:
    """Delete a dead letter. Return False if somebody else has deleted it already."""
    try:
        await request(connection, f"STREAM.MSG.DELETE.{STREAM}", {"seq": sequence, "no_erase": True})
    except ApiError:
        # The server has several codes and texts for a message that is gone.
        if await read_message(connection, sequence) is not None:
            raise
        return False
    return True


async def delete_dead_letters(
    connection: NatsConnection,
    selection: DeadLetterFilter,
    snapshot: Snapshot,
    stop: asyncio.Event,
    progress: Callable[[int], None],
) -> int:
    """Delete the selected dead letters of `snapshot` until the end or until `stop`. Return the number deleted.

    Call `progress` with it. All of them at once are one request to the server. Raises `BrokerUnavailable`.
    """
    if selection.is_everything:
        body = {"filter": DEAD_LETTER, "seq": snapshot.last + 1}
        return int((await request(connection, f"STREAM.PURGE.{STREAM}", body))["purged"])
    deleted = 0
    async with aclosing(select_dead_letters(connection, selection, snapshot)) as selected:
        async for dead in selected:
            if stop.is_set():
                break
            deleted += await delete_dead_letter(connection, dead.sequence)
            progress(deleted)
    return deleted
