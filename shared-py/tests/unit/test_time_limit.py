"""Time limit of a handler: it does not run while the platform is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from keda_jobs.runtime.deadlines import Deadlines
from keda_jobs.runtime.time_limit import TimeLimit, suspended_time_limit


async def ends_in_time(work: Coroutine[Any, Any, object], limit: TimeLimit) -> bool:
    """Run `work` and return whether it ended within its limit."""
    task = limit.start(work)
    try:
        await limit.over
    finally:
        limit.stop()
    ended = task.done()
    task.cancel()
    await asyncio.wait((task,))
    return ended


async def wait_for(event: asyncio.Event) -> None:
    with suspended_time_limit():
        await event.wait()


def is_set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_the_clock_stands_still_while_it_is_suspended_and_goes_on_afterwards() -> None:
    limit = TimeLimit(Deadlines(), 60)

    async def handle() -> None:
        ends = limit.ends_at
        with suspended_time_limit():
            assert limit.ends_at is None
            await asyncio.sleep(0.01)
        assert ends is not None
        assert limit.ends_at is not None
        assert limit.ends_at >= ends + 0.009

    assert await ends_in_time(handle(), limit)


async def test_a_handler_that_hangs_after_a_wait_is_ended() -> None:
    async def handle() -> None:
        await wait_for(is_set())
        await asyncio.Event().wait()

    assert not await ends_in_time(handle(), TimeLimit(Deadlines(), 0.1))


async def test_the_clock_of_a_handler_stands_still_while_one_of_its_tasks_waits() -> None:
    limit, may_end = TimeLimit(Deadlines(), 60), asyncio.Event()

    async def handle() -> None:
        tasks = [asyncio.create_task(wait_for(may_end)) for _ in range(2)]
        await wait_for(is_set())
        assert limit.ends_at is not None
        await asyncio.sleep(0)
        assert limit.ends_at is None
        await wait_for(is_set())
        assert limit.ends_at is None
        may_end.set()
        await asyncio.gather(*tasks)
        assert limit.ends_at is not None

    assert await ends_in_time(handle(), limit)


async def test_handlers_have_clocks_of_their_own() -> None:
    other_is_over = asyncio.Event()
    waiting = asyncio.create_task(ends_in_time(wait_for(other_is_over), TimeLimit(Deadlines(), 0.05)))
    assert not await ends_in_time(asyncio.Event().wait(), TimeLimit(Deadlines(), 0.1))
    other_is_over.set()
    assert await waiting


async def test_a_task_that_outlives_its_handler_may_still_wait() -> None:
    may_end = asyncio.Event()
    left: list[asyncio.Task[None]] = []

    async def handle() -> None:
        left.append(asyncio.create_task(wait_for(may_end)))
        await asyncio.sleep(0)

    assert await ends_in_time(handle(), TimeLimit(Deadlines(), 60))
    may_end.set()
    await left[0]


async def test_a_shutdown_ends_the_clock() -> None:
    limit = TimeLimit(Deadlines(), 60)
    running = asyncio.create_task(ends_in_time(asyncio.Event().wait(), limit))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert limit.ends_at is None


async def test_without_a_handler_there_is_nothing_to_suspend() -> None:
    with suspended_time_limit():
        await asyncio.sleep(0)
