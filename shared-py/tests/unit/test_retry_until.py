"""Retries of a call while a part of the platform is unavailable."""

from __future__ import annotations

import asyncio
import time

import pytest

from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.runtime.backoff import Backoff, retry_until
from keda_jobs.runtime.shutdown import Shutdown


class Server:
    """Server that is unavailable for the first calls."""

    def __init__(self, failing_calls: int) -> None:
        self.calls = 0
        self._failing_calls = failing_calls

    async def call(self) -> str:
        self.calls += 1
        if self.calls <= self._failing_calls:
            raise DatabaseUnavailable("PostgreSQL: refused")
        return "answer"


async def test_a_call_is_retried_until_it_succeeds() -> None:
    server = Server(failing_calls=3)
    answer = await retry_until(server.call, Backoff(max_s=0.01), Shutdown(0), lambda: time.monotonic() + 60)
    assert (answer, server.calls) == ("answer", 4)


async def test_a_call_runs_at_least_once() -> None:
    server = Server(failing_calls=0)
    assert await retry_until(server.call, Backoff(), Shutdown(0), lambda: 0.0) == "answer"


async def test_the_last_try_is_at_the_deadline() -> None:
    server = Server(failing_calls=1000)
    deadline = time.monotonic() + 0.1  # shorter than the first wait
    with pytest.raises(DatabaseUnavailable, match="refused"):
        await retry_until(server.call, Backoff(max_s=3600), Shutdown(0), lambda: deadline)
    assert time.monotonic() >= deadline
    assert server.calls == 2


async def test_a_shutdown_request_retries_at_once() -> None:
    server = Server(failing_calls=1)
    shutdown = Shutdown(grace_s=3600)
    backoff = Backoff(max_s=3600)
    backoff.failed("long ago")
    backoff._until = time.monotonic() + 3600
    waiting = asyncio.create_task(retry_until(server.call, backoff, shutdown, lambda: time.monotonic() + 3600))
    await asyncio.sleep(0)
    assert (server.calls, waiting.done()) == (1, False)
    shutdown.request()
    assert await waiting == "answer"


async def test_a_cancelled_call_is_not_retried_whatever_it_raises() -> None:
    called = asyncio.Event()

    async def roll_back_on_a_dead_connection() -> None:
        try:
            called.set()
            await asyncio.Event().wait()
        finally:
            raise DatabaseUnavailable("PostgreSQL: the underlying connection is closed")

    waiting = asyncio.create_task(
        retry_until(roll_back_on_a_dead_connection, Backoff(), Shutdown(0), lambda: time.monotonic() + 3600)
    )
    await called.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
