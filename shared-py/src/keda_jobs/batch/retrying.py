"""Trying again while PostgreSQL is away."""

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
    """The rests between two tries: a try costs a server that comes back next to nothing, and rows wait for it."""
    return Backoff(max_s=5.0)


async def retry_until(
    call: Callable[[], Awaitable[T]], backoff: Backoff, shutdown: Shutdown, give_up: Callable[[], float]
) -> T:
    """The result of `call`, tried until `give_up` (by `time.monotonic`), and once at least.

    A shutdown has it tried again at once. Raises `DatabaseUnavailable` in the end.
    """
    while True:
        try:
            result = await call()
        except DatabaseUnavailable as error:
            if is_cancelled():  # and rolling back met a dead connection
                raise asyncio.CancelledError from error
            left_s = give_up() - time.monotonic()
            if left_s <= 0:
                raise
            backoff.failed(str(error))
            await shutdown.sleep(min(backoff.remaining_s, left_s))
        else:
            backoff.reset()
            return result
