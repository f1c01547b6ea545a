"""Waiting for a condition, with a deadline. Nothing here waits for time alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_POLL_S = 0.02


async def came_true(condition: Callable[[], Awaitable[object]], within_s: float) -> bool:
    """Wait until `condition` is true and return True, or False after `within_s`."""
    ends = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def throughout(duration_s: float, condition: Callable[[], Awaitable[object]]) -> None:
    """Check `condition` for `duration_s`. The test fails when it is false once."""
    ends = time.monotonic() + duration_s
    while time.monotonic() < ends:
        assert await condition(), f"{condition.__qualname__} did not stay true"
        await asyncio.sleep(_POLL_S)
