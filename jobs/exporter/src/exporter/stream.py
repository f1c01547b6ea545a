"""Snapshots of JetStream: a few requests, and up to four more for each consumer. None changes anything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Self

import aiohttp

from exporter.settings import Settings
from exporter.snapshots import ConsumerSnapshot, Storage, StreamSnapshot
from keda_jobs.domain.subjects import STREAMS
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import durable_consumers, stream_info
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.runtime.shutdown import wait_for
from keda_jobs.runtime.trouble import Part
from keda_jobs.status.dead_letters import DeadLetterCounter
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
        jobs = sorted({ConsumerState.from_info(consumer).job for consumer in consumers})
        return StreamSnapshot(
            now=datetime.fromisoformat(infos[0]["ts"]),
            streams=tuple(map(StreamState.from_info, infos)),
            storage=await self._storage(infos[0]),
            consumers=tuple(
                [
                    ConsumerSnapshot(ConsumerState.from_info(one), await oldest_unacked(connection, one))
                    for one in consumers
                ]
            ),
            retries=tuple([await read_waiting_retries(connection, job) for job in jobs]),
            dead_letters=await self._dead_letters.read(connection),
        )

    async def _storage(self, info: Mapping[str, Any]) -> Storage | None:
        """Return the storage that fills up first: the events stream's where it has a limit, else the server's.

        For an account without limits `$JS.API.INFO` reports none. Only monitoring knows max_file_store.
        """
        if info["config"]["max_bytes"] > 0:
            return Storage(info["state"]["bytes"], info["config"]["max_bytes"])
        if self._settings.nats_monitoring_url is None:
            return None
        server = await _get_json(f"{self._settings.nats_monitoring_url}/jsz")
        return Storage(server["storage"], server["config"]["max_storage"])


async def _get_json(url: str) -> dict[str, Any]:
    try:
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as response:
            body: dict[str, Any] = await response.json()
            return body
    except aiohttp.ClientError as error:
        raise BrokerUnavailable(f"NATS_MONITORING_URL: {error}") from error
