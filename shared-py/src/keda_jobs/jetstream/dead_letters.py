"""Dead letters in the stream: find them, count them, delete them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from keda_jobs.domain.dead_letter import DeadLetter, parse_dead_letter
from keda_jobs.domain.subjects import DEAD_LETTER, STREAM
from keda_jobs.jetstream.api import MESSAGE_NOT_FOUND, ApiError, count_by_subject, request, server_time
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import StoredMessage, read_all, read_message

Group = tuple[str, str, str]
"""Job, error class and subject."""


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Conditions for dead letters. An empty one matches all."""

    sequences: frozenset[int] = frozenset()
    subject: str | None = None
    job: str | None = None
    error_class: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None

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
        )


async def select_dead_letters(
    connection: NatsConnection,
    selection: DeadLetterFilter,
    *,
    on_missing: Callable[[int], None] = lambda _sequence: None,
) -> AsyncGenerator[DeadLetter]:
    """Yield the selected dead letters, oldest first.

    Call `on_missing` with each selected number that is no dead letter. Raises `StreamMissing`, `BrokerUnavailable`.
    """
    # The server's clock, because it also stamped the dead letters.
    now = await server_time(connection)
    if selection.sequences:
        for sequence in sorted(selection.sequences):
            dead = await find_dead_letter(connection, sequence)
            if dead is None:
                on_missing(sequence)
            elif selection.matches(dead, now):
                yield dead
        return
    async with aclosing(read_all(connection, DEAD_LETTER)) as messages:
        async for message in messages:
            dead = parse_stored(message)
            if selection.matches(dead, now):
                yield dead


async def find_dead_letter(connection: NatsConnection, sequence: int) -> DeadLetter | None:
    """Return the dead letter with this number, if there is one."""
    message = await read_message(connection, sequence)
    return parse_stored(message) if message is not None and message.subject == DEAD_LETTER else None


def parse_stored(message: StoredMessage) -> DeadLetter:
    """Parse a stored message as a dead letter."""
    return parse_dead_letter(message.sequence, message.stored_at, message.data, message.headers)


async def newest_dead_letters(
    connection: NatsConnection, selection: DeadLetterFilter, limit: int
) -> tuple[list[DeadLetter], int]:
    """Return the newest `limit` selected dead letters, oldest first, and how many are selected. 0 means no limit."""
    newest: deque[DeadLetter] = deque(maxlen=limit or None)
    total = 0
    async with aclosing(select_dead_letters(connection, selection)) as selected:
        async for dead in selected:
            newest.append(dead)
            total += 1
    return list(newest), total


async def group_dead_letters(connection: NatsConnection, selection: DeadLetterFilter) -> dict[int, Group]:
    """Return the group of each selected dead letter, by its number."""
    async with aclosing(select_dead_letters(connection, selection)) as selected:
        return {dead.sequence: (dead.job, dead.error_class, dead.subject) async for dead in selected}


async def expected_count(connection: NatsConnection, selection: DeadLetterFilter) -> int | None:
    """Return the number of selected dead letters, where it is known without reading them."""
    if selection.sequences:
        return len(selection.sequences)
    if not selection.is_everything:
        return None
    return (await count_by_subject(connection, DEAD_LETTER)).get(DEAD_LETTER, 0)


async def delete_dead_letter(connection: NatsConnection, sequence: int) -> None:
    """Delete a dead letter, unless somebody else has deleted it already."""
    try:
        await request(connection, f"STREAM.MSG.DELETE.{STREAM}", {"seq": sequence, "no_erase": True})
    except ApiError as error:
        if error.code != MESSAGE_NOT_FOUND and "no message found" not in error.description:
            raise


async def delete_dead_letters(
    connection: NatsConnection, sequences: Iterable[int], stop: asyncio.Event, progress: Callable[[int], None]
) -> int:
    """Delete one by one until the end or until `stop`. Return the number deleted, and call `progress` with it.

    Raises `BrokerUnavailable`.
    """
    deleted = 0
    for sequence in sequences:
        if stop.is_set():
            break
        await delete_dead_letter(connection, sequence)
        deleted += 1
        progress(deleted)
    return deleted
