"""Retries of database calls while PostgreSQL is unavailable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.shutdown import Shutdown, is_cancelled

T = TypeVar("T")


def database_backoff() -> Backoff:
    """Build a backoff with short waits: a retry costs the server next to nothing, and claimed rows wait for it."""
    return Backoff(max_s=5.0)


async def retry_until(
    call: Callable[[], Awaitable[T]], backoff: Backoff, shutdown: Shutdown, deadline: Callable[[], float]
) -> T:
    """Retry `call` until the time that `deadline` returns (by `time.monotonic`), and run it at least once.

    A shutdown ends the wait between two tries. Raises `DatabaseUnavailable` after the deadline.
    """
    while True:
        try:
            result = await call()
        except DatabaseUnavailable as error:
            if is_cancelled():  # and the rollback found a dead connection
                raise asyncio.CancelledError from error
            left_s = deadline() - time.monotonic()
            if left_s <= 0:
                raise
            backoff.failed(str(error))
            await shutdown.sleep(min(backoff.remaining_s, left_s))
        else:
            backoff.reset()
            return result
