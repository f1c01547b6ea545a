"""The connection of a command, and the signals that end it between two steps."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from keda_jobs.jetstream.connection import Client, connect
from keda_jobs.settings import NatsSettings, load

T = TypeVar("T")
INTERRUPTED = 130


def run(server: str | None, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """The result of `work` with a connection to `server`, or to `NATS_URL`.

    Raises `BrokerUnavailable` within about two seconds when the server is away.
    """

    async def connected() -> T:
        async with connect(settings_for(server), name="keda-jobs-cli", wait=False) as client:
            return await work(client)

    return asyncio.run(connected())


def settings_for(server: str | None) -> NatsSettings:
    """The settings from the environment, with `server` in place of `NATS_URL` where given."""
    settings = load(NatsSettings)
    return settings if server is None else settings.model_copy(update={"nats_url": server})


@contextmanager
def interruptible() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, for work that ends between two steps and not within one."""
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
