"""The grace period: the first call begins it and the second ends it. Sleeps end early."""

from __future__ import annotations

import asyncio
import math
import time

from keda_jobs.runtime.shutdown import Shutdown


async def test_nothing_ends_before_a_stop_is_asked_for() -> None:
    shutdown = Shutdown(grace_s=0)
    over = asyncio.create_task(shutdown.grace_elapsed())
    await asyncio.sleep(0)
    assert (shutdown.requested, shutdown.deadline, over.done()) == (False, math.inf, False)
    shutdown.request()
    await over
    assert shutdown.requested
    assert shutdown.deadline <= time.monotonic()


async def test_the_grace_begins_with_the_first_call_and_ends_with_the_second() -> None:
    shutdown = Shutdown(grace_s=3600)
    over = asyncio.create_task(shutdown.grace_elapsed())
    shutdown.request()
    await asyncio.sleep(0)
    assert not over.done()
    assert shutdown.deadline > time.monotonic() + 3000
    shutdown.request()
    await over
    assert shutdown.deadline <= time.monotonic()


async def test_a_rest_ends_with_the_first_call() -> None:
    shutdown = Shutdown(grace_s=3600)
    rest = asyncio.create_task(shutdown.sleep(3600))
    await asyncio.sleep(0)
    assert not rest.done()
    shutdown.request()
    await rest


async def test_a_rest_after_a_stop_is_a_rest() -> None:
    shutdown = Shutdown(grace_s=3600)
    shutdown.request()
    began = time.monotonic()
    await shutdown.sleep(0.05)
    assert time.monotonic() >= began + 0.05
