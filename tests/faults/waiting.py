"""Waiting for a condition, with a deadline; nothing here waits for time alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_POLL_S = 0.02


async def came_true(condition: Callable[[], Awaitable[object]], within_s: float) -> bool:
    """Whether `condition` came true within that time; returns as soon as it did."""
    ends = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def throughout(duration_s: float, condition: Callable[[], Awaitable[object]]) -> None:
    """Look at `condition` for as long as that; the test fails when it is once not true."""
    ends = time.monotonic() + duration_s
    while time.monotonic() < ends:
        assert await condition(), f"{condition.__qualname__} did not stay true"
        await asyncio.sleep(_POLL_S)
