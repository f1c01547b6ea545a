"""Waiting for conditions with a deadline."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# Below the limit of the suite, so that a test says what it waited for. A busy machine is many times slower.
_DEADLINE_S = 200.0
_POLL_S = 0.02


async def until(condition: Callable[[], Any], deadline_s: float = _DEADLINE_S) -> Any:
    """Poll `condition`, awaited if awaitable, and return its first true value. Raises `TimeoutError`."""
    async with asyncio.timeout(deadline_s):
        while True:
            value = condition()
            settled = await value if inspect.isawaitable(value) else value
            if settled:
                return settled
            await asyncio.sleep(_POLL_S)


def wait_until(condition: Callable[[], T], deadline_s: float = _DEADLINE_S) -> T:
    """Poll `condition` without an event loop and return its first true value. Raises `TimeoutError`."""
    ends = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > ends:
            raise TimeoutError(f"condition not true within {deadline_s:g} s")
        time.sleep(_POLL_S)
    return value
