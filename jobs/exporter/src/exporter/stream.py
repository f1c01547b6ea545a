"""Reads JetStream: three requests, one or two more for each consumer, and none that changes anything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import aiohttp
from nats.aio.client import Client

from exporter.readings import Consumer, Storage, StreamReading
from exporter.settings import Settings
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import stream_info
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.reader import moment
from keda_jobs.jetstream.streams import durable_consumers
from keda_jobs.status.dead_letters import LetterCount
from keda_jobs.status.retries import waiting_retries
from keda_jobs.status.stream import consumer_state, oldest_unacked, stream_state

# Well within the time of a reading, so that it is told what is wrong.
CONNECT_S = 3.0


class StreamReader:
    """Reads the stream again and again, by one connection."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Client | None = None
        self._reached = asyncio.Event()
        self._letters = LetterCount()

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Self]:
        """Waits until NATS is reached; before that, and whenever it is away, `read` says so."""
        async with connect(self._settings, name="exporter", wait=True) as client:
            self._client = client
            self._reached.set()
            yield self

    async def read(self) -> StreamReading:
        """The stream now; just after the start the connection is waited for. Raises `BrokerUnavailable`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await self._reached.wait()
        client = self._client
        if client is None or not client.is_connected:
            raise BrokerUnavailable("not connected to NATS")
        info = await stream_info(client)
        consumers = await durable_consumers(client)
        jobs = sorted({consumer_state(one).job for one in consumers})
        return StreamReading(
            now=moment(info["ts"]),
            stream=stream_state(info),
            storage=await self._storage(info),
            consumers=tuple([Consumer(consumer_state(one), await oldest_unacked(client, one)) for one in consumers]),
            retries=tuple([await waiting_retries(client, job) for job in jobs]),
            letters=await self._letters.read(client),
        )

    async def _storage(self, info: Mapping[str, Any]) -> Storage | None:
        """What fills up first: the stream, where it has a limit of its own, else the server's disk.

        An account without limits, as ours is, is told of none by `$JS.API.INFO`: only monitoring knows max_file_store.
        """
        if info["config"]["max_bytes"] > 0:
            return Storage(info["state"]["bytes"], info["config"]["max_bytes"])
        if self._settings.nats_monitoring_url is None:
            return None
        found = await _monitored(f"{self._settings.nats_monitoring_url}/jsz")
        return Storage(found["storage"], found["config"]["max_storage"])


async def _monitored(url: str) -> dict[str, Any]:
    try:
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as answer:
            found: dict[str, Any] = await answer.json()
            return found
    except aiohttp.ClientError as error:
        raise BrokerUnavailable(f"NATS_MONITORING_URL: {error}") from error
