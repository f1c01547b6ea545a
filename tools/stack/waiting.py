"""Waiting on a condition with a deadline, never for a guessed time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# A busy machine may stand still for ten seconds and more.
_DEADLINE_S = 60.0
_POLL_S = 0.02


async def until(condition: Callable[[], Any], deadline_s: float = _DEADLINE_S) -> Any:
    """The first true value of `condition`, awaited where it is awaitable. Raises `TimeoutError`."""
    async with asyncio.timeout(deadline_s):
        while True:
            value = condition()
            settled = await value if inspect.isawaitable(value) else value
            if settled:
                return settled
            await asyncio.sleep(_POLL_S)


def wait_until(condition: Callable[[], T], deadline_s: float = _DEADLINE_S) -> T:
    """The first true value of `condition`, for code without an event loop. Raises `TimeoutError`."""
    ends = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > ends:
            raise TimeoutError(f"not true within {deadline_s:g} s")
        time.sleep(_POLL_S)
    return value
