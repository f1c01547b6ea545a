"""Numbers of the servers, read in the background and shared by all viewers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from keda_jobs.claims.registry import list_queues
from keda_jobs.errors import JobError, Misconfigured, PlatformError
from keda_jobs.jetstream.api import ApiError
from keda_jobs.postgres import Connection, translate_all_errors
from keda_jobs.runtime.shutdown import wait_for
from keda_jobs.settings import PgSettings
from keda_jobs.status.batch import BatchStatus, StatusReader, open_database
from keda_jobs.status.dead_letters import DeadLetterCounter
from keda_jobs.status.overview import Overview, read_overview
from keda_jobs.ui.servers import SharedNats

EVERY_S = 2.0
"""Seconds between two readings while somebody looks."""
_IDLE_EVERY_S = 60.0
_LOOKS_FOR_S = 10.0
_LIMIT_S = 15.0
# A viewer who comes after a while gets this long a wait for new numbers, else a page without them.
_FIRST_PAINT_S = 0.7

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outage:
    """Reason why a server cannot be read, and since when. It is not away if it answers, and refuses."""

    reason: str
    since: datetime
    is_away: bool = True


class Reading(Generic[T]):
    """Numbers of one server: every two seconds while somebody looks, else once a minute, for the curves.

    `value` is the last one that could be read, at `read_at`. While there is an `outage`, it gets older.
    """

    def __init__(self, server: str, read: Callable[[], Awaitable[T]], on_value: Callable[[T], None]) -> None:
        self.server = server
        self.value: T | None = None
        self.read_at: datetime | None = None
        self.outage: Outage | None = None
        self._read = read
        self._on_value = on_value
        self._looked_at = float("-inf")
        self._ended_at = float("-inf")
        self._wanted = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            self._wanted.clear()
            await self._refresh()
            self._ended_at = time.monotonic()
            self._ended.set()
            await asyncio.sleep(EVERY_S)
            if time.monotonic() - self._looked_at > _LOOKS_FOR_S:
                await wait_for(self._wanted, _IDLE_EVERY_S - EVERY_S)

    async def look(self) -> None:
        """Note that somebody looks. Where the numbers are old, wait for new ones for a moment."""
        self._looked_at = time.monotonic()
        self._wanted.set()
        if self._looked_at - self._ended_at > _LOOKS_FOR_S:
            self._ended.clear()
            await wait_for(self._ended, _FIRST_PAINT_S)

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(_LIMIT_S):
                value = await self._read()
        except TimeoutError:
            self._failed(f"no answer within {_LIMIT_S:g} s")
        except JobError as error:
            self._failed(str(error), is_away=isinstance(error, PlatformError) and not isinstance(error, ApiError))
        except Exception:
            log.exception("%s cannot be read because of a bug", self.server)
            self._failed("its numbers cannot be read because of a bug; the log of `keda-jobs ui` has it", is_away=False)
        else:
            self.value, self.read_at, self.outage = value, datetime.now(UTC), None
            self._on_value(value)

    def _failed(self, reason: str, *, is_away: bool = True) -> None:
        since = self.outage.since if self.outage else datetime.now(UTC)
        self.outage = Outage(reason, since, is_away)


class StreamsReader:
    """Reader of streams, consumers, retries and dead letters. It counts each dead letter once."""

    def __init__(self, nats: SharedNats) -> None:
        self._nats = nats
        self._dead_letters = DeadLetterCounter()

    async def read(self) -> Overview:
        """Read what `keda-jobs status` shows. Raises `BrokerUnavailable`, `Misconfigured`."""
        return await read_overview(await self._nats.connection(), self._dead_letters)


class QueuesReader:
    """Reader of every claim queue of the database. `refused` has the reasons of those that the login may not read."""

    def __init__(self, settings: PgSettings) -> None:
        self._settings = settings
        self._readers: dict[str, StatusReader] = {}
        self.refused: dict[str, str] = {}

    async def read(self) -> tuple[BatchStatus, ...]:
        """Read what `keda-jobs batch status` shows of each queue. Raises `DatabaseUnavailable`, `Misconfigured`."""
        async with open_database(self._settings) as connection:
            async with connection.transaction(readonly=True):
                names = [table.batch_name for table in await list_queues(connection)]
            self._readers = {name: self._readers.get(name) or StatusReader(self._settings, name) for name in names}
            found = [await self._read_one(connection, name) for name in names]
        self.refused = {name: one for name, one in zip(names, found, strict=True) if isinstance(one, str)}
        return tuple(one for one in found if not isinstance(one, str))

    async def _read_one(self, connection: Connection, name: str) -> BatchStatus | str:
        """Return the status of a queue, or why the login may not read it."""
        try:
            with translate_all_errors():
                return await self._readers[name].read_through(connection)
        except Misconfigured as error:
            return str(error)
