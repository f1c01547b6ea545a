"""Snapshots of JetStream: a few requests, and up to four more for each consumer. None changes anything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Self

from exporter.settings import Settings
from exporter.snapshots import ConsumerSnapshot, Storage, StreamSnapshot
from keda_jobs.backup.record import read_last_backup
from keda_jobs.domain.subjects import STREAMS
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import Info, durable_consumers, stream_info
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.runtime.shutdown import wait_for
from keda_jobs.runtime.trouble import Part
from keda_jobs.status.dead_letters import DeadLetterCounter
from keda_jobs.status.delayed_events import read_delayed_events
from keda_jobs.status.stream import ConsumerState, StreamState, oldest_unacked, read_waiting_retries

# Well below the time limit of a scrape, so that the log says what is wrong.
CONNECT_TIMEOUT_S = 3.0


class StreamReader:
    """Reader of the streams, which keeps one connection."""

    def __init__(self, settings: Settings, state: Part) -> None:
        """`state` is in trouble while there is no connection."""
        self._settings = settings
        self._state = state
        self._connection: NatsConnection | None = None
        self._connected = asyncio.Event()
        self._dead_letters = DeadLetterCounter()
        # A job whose consumer is deleted keeps its retries and its dead letters, and the numbers of them.
        self._jobs: set[str] = set()

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Self]:
        """Connect, and wait for NATS. While it is unavailable, `read` raises."""
        async with connect(self._settings, name="exporter", wait=True, state=self._state) as connection:
            self._connection = connection
            self._connected.set()
            yield self

    async def read(self) -> StreamSnapshot:
        """Take a snapshot, and wait for the first connection. Raises `BrokerUnavailable`."""
        await wait_for(self._connected, CONNECT_TIMEOUT_S)
        connection = self._connection
        if connection is None or not connection.is_connected:
            raise BrokerUnavailable("not connected to NATS")
        infos = [await stream_info(connection, name) for name in STREAMS]
        consumers = await durable_consumers(connection)
        self._jobs |= {ConsumerState.from_info(consumer).job for consumer in consumers}
        now = datetime.fromisoformat(infos[0]["ts"])
        return StreamSnapshot(
            now=now,
            streams=tuple(map(StreamState.from_info, infos)),
            storage=_limited_storage(infos[0]),
            consumers=tuple(
                [
                    ConsumerSnapshot(ConsumerState.from_info(one), await oldest_unacked(connection, one))
                    for one in consumers
                ]
            ),
            retries=tuple([await read_waiting_retries(connection, job) for job in sorted(self._jobs)]),
            delayed_events=await read_delayed_events(connection, now),
            dead_letters=await self._dead_letters.read(connection),
            last_backup=await read_last_backup(connection),
        )


def _limited_storage(info: Info) -> Storage | None:
    """Return the storage of the events stream where it has a limit. Otherwise the server's fills up first."""
    limit = info["config"]["max_bytes"]
    return Storage(info["state"]["bytes"], limit) if limit > 0 else None
