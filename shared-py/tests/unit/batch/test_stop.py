"""The grace: begun by the first call, ended by the second; rests end early."""

from __future__ import annotations

import asyncio
import math
import time

from keda_jobs.batch.stop import Stop


async def test_nothing_ends_before_a_stop_is_asked_for() -> None:
    stop = Stop(grace_s=0)
    over = asyncio.create_task(stop.grace_over())
    await asyncio.sleep(0)
    assert (stop.asked, stop.ends_at, over.done()) == (False, math.inf, False)
    stop.ask()
    await over
    assert stop.asked
    assert stop.ends_at <= time.monotonic()


async def test_the_grace_begins_with_the_first_call_and_ends_with_the_second() -> None:
    stop = Stop(grace_s=3600)
    over = asyncio.create_task(stop.grace_over())
    stop.ask()
    await asyncio.sleep(0)
    assert not over.done()
    assert stop.ends_at > time.monotonic() + 3000
    stop.ask()
    await over
    assert stop.ends_at <= time.monotonic()


async def test_a_rest_ends_with_the_first_call() -> None:
    stop = Stop(grace_s=3600)
    rest = asyncio.create_task(stop.rest(3600))
    await asyncio.sleep(0)
    assert not rest.done()
    stop.ask()
    await rest


async def test_a_rest_after_a_stop_is_a_rest() -> None:
    stop = Stop(grace_s=3600)
    stop.ask()
    began = time.monotonic()
    await stop.rest(0.05)
    assert time.monotonic() >= began + 0.05
