"""Connection to NATS that all viewers share."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.settings import NatsSettings


class SharedNats:
    """Connection to NATS that is opened when it is needed, and again after it was lost, with today's login."""

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._connection: NatsConnection | None = None
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()

    async def connection(self) -> NatsConnection:
        """Return the open connection. Raises `BrokerUnavailable` within seconds, `Misconfigured`."""
        async with self._lock:
            if self._connection is None or not self._connection.is_connected:
                await self._stack.aclose()
                self._connection = None
                opened = connect(self._settings, name="keda-jobs-ui", wait=False)
                self._connection = await self._stack.enter_async_context(opened)
            return self._connection

    async def close(self) -> None:
        """Close the connection, if it is open."""
        await self._stack.aclose()
