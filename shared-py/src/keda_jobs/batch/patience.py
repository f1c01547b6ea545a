"""Trying again while PostgreSQL is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from keda_jobs.batch.stop import Stop, is_cancelled
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.pause import Pause

T = TypeVar("T")


def patience() -> Pause:
    """The rests between two tries: a try costs a server that comes back next to nothing, and rows wait for it."""
    return Pause(most_s=5.0)


async def until_answered(call: Callable[[], Awaitable[T]], pause: Pause, stop: Stop, give_up: Callable[[], float]) -> T:
    """The result of `call`, tried until `give_up` (by `time.monotonic`), and once at least.

    A stop has it tried again at once. Raises `DatabaseUnavailable` in the end.
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
            pause.trouble(str(error))
            await stop.rest(min(pause.left_s, left_s))
        else:
            pause.over()
            return result
