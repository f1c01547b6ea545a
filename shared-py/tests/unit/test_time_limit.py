"""Time limit of a handler: it does not run while the platform is waited for."""

from __future__ import annotations

import asyncio

import pytest

from keda_jobs.runtime.time_limit import _running, limit_time, suspended_time_limit


def running_timeout() -> asyncio.Timeout:
    limit = _running.get()
    assert limit is not None
    return limit._timeout


async def test_the_clock_stands_still_while_it_is_suspended_and_goes_on_afterwards() -> None:
    async with limit_time(60):
        timeout = running_timeout()
        ends = timeout.when()
        with suspended_time_limit():
            assert timeout.when() is None
            await asyncio.sleep(0.01)
        later = timeout.when()
    assert ends is not None
    assert later is not None
    assert later >= ends + 0.009


async def hang_after_a_wait() -> None:
    async with limit_time(0.1):
        with suspended_time_limit():
            await asyncio.sleep(0)
        await asyncio.Event().wait()


async def test_a_handler_that_hangs_after_a_wait_is_ended() -> None:
    with pytest.raises(TimeoutError):
        await hang_after_a_wait()


async def test_the_clock_of_a_handler_stands_still_while_one_of_its_tasks_waits() -> None:
    may_end = asyncio.Event()

    async def wait_for(event: asyncio.Event) -> None:
        with suspended_time_limit():
            await event.wait()

    async with limit_time(60):
        timeout = running_timeout()
        tasks = [asyncio.create_task(wait_for(may_end)) for _ in range(2)]
        await wait_for(_set())
        assert timeout.when() is not None
        await asyncio.sleep(0)
        assert timeout.when() is None
        await wait_for(_set())
        assert timeout.when() is None
        may_end.set()
        await asyncio.gather(*tasks)
        assert timeout.when() is not None


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_handlers_have_clocks_of_their_own() -> None:
    suspended, other_is_over = asyncio.Event(), asyncio.Event()

    async def waiting() -> None:
        async with limit_time(60):
            with suspended_time_limit():
                suspended.set()
                await other_is_over.wait()

    async def hanging() -> None:
        await suspended.wait()
        with pytest.raises(TimeoutError):
            async with limit_time(0.1):
                await asyncio.Event().wait()
        other_is_over.set()

    await asyncio.gather(waiting(), hanging())


async def test_a_task_that_outlives_its_handler_may_still_wait() -> None:
    may_end = asyncio.Event()

    async def wait() -> None:
        with suspended_time_limit():
            await may_end.wait()

    async with limit_time(60):
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
    may_end.set()
    await task


async def test_without_a_handler_there_is_nothing_to_suspend() -> None:
    with suspended_time_limit():
        await asyncio.sleep(0)
