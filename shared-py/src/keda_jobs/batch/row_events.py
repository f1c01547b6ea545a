"""Events of rows: published and confirmed before the rows are completed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from keda_jobs.claims.rows import ClaimedRow, CompletedRow
from keda_jobs.claims.table import ClaimTable
from keda_jobs.domain.broker import Outgoing
from keda_jobs.errors import Permanent, PlatformError
from keda_jobs.runtime.backoff import Backoff, retry_until
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.trouble import Part
from keda_jobs.settings import NatsSettings

_TOGETHER = 500
"""Events that are stored together. The server takes up to a thousand."""
_IN_FLIGHT = 256
"""Events that wait at once for a confirmation of their own."""


@dataclass(slots=True)
class SentRows:
    """Rows whose events were all confirmed, and rows with a refused event. All others have to be sent again."""

    confirmed: list[CompletedRow] = field(default_factory=list)
    refused: list[tuple[ClaimedRow, Permanent]] = field(default_factory=list)


class RowEvents:
    """Publisher of the events of rows. No row starts while it is `waiting` for NATS."""

    def __init__(
        self,
        publish: Callable[[Outgoing], Awaitable[Any]],
        publish_batch: Callable[[Sequence[Outgoing]], Awaitable[bool]],
        table: ClaimTable,
        shutdown: Shutdown,
        *,
        key: bytes,
        connection: Part,
        backoff: Backoff,
    ) -> None:
        """`publish` stores a message and waits for the confirmation. `publish_batch` returns whether it stored all.

        `key` is secret: ids derive from it. `connection` is in trouble while there is none.
        """
        self._publish = publish
        self._publish_batch = publish_batch
        self._table = table
        self._shutdown = shutdown
        self._key = key
        self._connection = connection
        self._backoff = backoff
        self.on_connection: Callable[[], None] = lambda: None
        """Called when the connection is made again."""

    @property
    def waiting(self) -> bool:
        """True while NATS is away, or confirms nothing."""
        return self._connection.active or self._backoff.active

    async def send(self, rows: Sequence[CompletedRow], headers: Mapping[str, str]) -> SentRows:
        """Publish the events of `rows`, each until it is confirmed or refused. The grace of a shutdown ends it.

        One that is published twice has the same id, so that the stream stores it once within its duplicate window.
        """
        sent = SentRows()
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send(rows, headers, sent))
                grace = group.create_task(self._cancel_after_grace(sending))
                await asyncio.wait((sending,))
                grace.cancel()
        except ExceptionGroup as errors:
            raise _first(errors) from errors
        return sent

    async def _cancel_after_grace(self, sending: asyncio.Task[None]) -> None:
        await self._shutdown.grace_elapsed()
        sending.cancel()

    async def _send(self, rows: Sequence[CompletedRow], headers: Mapping[str, str], sent: SentRows) -> None:
        """Send the events of many rows together. One by one go those of a batch that is refused, and those for later.

        The server stores a batch in one stream, and events for later wait in another.
        """
        at_once, alone = _split(rows)
        for together in _in_groups(at_once):
            messages = [message for row in together for message in self._messages(row, headers)]
            if len(messages) > 1 and await self._publish_batch(messages):
                sent.confirmed += together
            else:
                alone += together
        rest = iter(alone)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_IN_FLIGHT, len(alone))):
                group.create_task(self._send_each(rest, headers, sent))

    def _messages(self, row: CompletedRow, headers: Mapping[str, str]) -> list[Outgoing]:
        job, now = self._table.batch_name, datetime.now(UTC)
        return [
            event.outgoing(event_id(self._key, self._table, row.row, number), headers, job, now)
            for number, event in enumerate(row.events)
        ]

    async def _send_each(self, rows: Iterator[CompletedRow], headers: Mapping[str, str], sent: SentRows) -> None:
        for row in rows:
            try:
                for message in self._messages(row, headers):
                    await self._store(message)
            except Permanent as error:
                sent.refused.append((row.row, error))
            except PlatformError:  # the grace has elapsed
                return
            else:
                sent.confirmed.append(row)

    async def _store(self, outgoing: Outgoing) -> None:
        await retry_until(
            lambda: self._publish(outgoing), self._backoff, self._shutdown, lambda: self._shutdown.deadline
        )


@asynccontextmanager
async def open_row_events(
    process: Process[Any], settings: NatsSettings, table: ClaimTable
) -> AsyncIterator[tuple[RowEvents, int]]:
    """Connect to NATS, and wait for it. Yield the publisher of `table`, and the most bytes of an event."""
    # A job that sends no events need not load nats-py.
    from keda_jobs.jetstream.batch_publish import BatchPublisher
    from keda_jobs.jetstream.connection import connect
    from keda_jobs.jetstream.login import key_of_login
    from keda_jobs.jetstream.publish import publish

    state, backoff = process.trouble.watch(Part()), process.trouble.watch(Backoff(), is_everybodys=True)

    def reconnected() -> None:
        events.on_connection()

    async with connect(settings, name=process.name, wait=True, on_reconnect=reconnected, state=state) as connection:
        events = RowEvents(
            partial(publish, connection),
            BatchPublisher(connection).publish,
            table,
            process.shutdown,
            key=key_of_login(settings),
            connection=state,
            backoff=backoff,
        )
        yield events, connection.max_payload // 2


def _first(error: Exception) -> Exception:
    """Return the first error of groups within groups."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _split(rows: Sequence[CompletedRow]) -> tuple[list[CompletedRow], list[CompletedRow]]:
    """Return the rows whose events are sent at once, and those with one for later."""
    at_once: list[CompletedRow] = []
    late: list[CompletedRow] = []
    for row in rows:
        (late if any(event.delay_s is not None for event in row.events) else at_once).append(row)
    return at_once, late


def _in_groups(rows: Sequence[CompletedRow]) -> Iterator[list[CompletedRow]]:
    """Yield groups of rows whose events are stored together."""
    group: list[CompletedRow] = []
    number = 0
    for row in rows:
        if group and number + len(row.events) > _TOGETHER:
            yield group
            group, number = [], 0
        group.append(row)
        number += len(row.events)
    if group:
        yield group


def event_id(key: bytes, table: ClaimTable, row: ClaimedRow, number: int) -> str:
    """Return the `Nats-Msg-Id` of an event of `row`, by the job, the table, the key and the values that were read.

    A row that is worked on again has the same ones, also after a crash. With the version that the claim gave the row
    it would not. One that the application has edited has others. Without `key` no publisher can compute them, to
    make NATS drop the event as a duplicate.
    """
    version = repr((table.batch_name, table.schema, table.name, row.key, row.values)).encode(errors="backslashreplace")
    return f"row-{hashlib.blake2b(version, digest_size=16, key=key).hexdigest()}-{number}"
