"""Connection of a command, and its interruption by Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.settings import NatsSettings, load_settings

T = TypeVar("T")
INTERRUPTED = 130
"""Exit code after SIGINT, as of a shell."""


def run(server: str | None, work: Callable[[NatsConnection], Coroutine[Any, Any, T]]) -> T:
    """Run `work` with a connection to `server`, or to `NATS_URL`.

    Raises `BrokerUnavailable` within about two seconds when the server is unavailable.
    """

    async def connected() -> T:
        async with connect(nats_settings(server), name="keda-jobs-cli", wait=False) as connection:
            return await work(connection)

    return asyncio.run(connected())


def nats_settings(server: str | None) -> NatsSettings:
    """Load the settings from the environment. `server` replaces `NATS_URL`."""
    return load_settings(NatsSettings) if server is None else load_settings(NatsSettings, nats_url=server)


@contextmanager
def interruptible() -> Iterator[asyncio.Event]:
    """Yield an event that SIGINT and SIGTERM set, so that work ends between two steps and not within one."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
