"""Deadlines on one timer: each that is not cleared is met once."""

from __future__ import annotations

import asyncio
from functools import partial

from keda_jobs.runtime.deadlines import Deadlines
from stack import until


async def test_each_deadline_is_met_once() -> None:
    met: list[float] = []
    deadlines = Deadlines()
    for duration_s in (0.03, 0.01, 60, 0.02, 0.01):
        deadlines.set(partial(met.append, duration_s), duration_s)
    await until(lambda: len(met) == 4)
    assert sorted(met) == [0.01, 0.01, 0.02, 0.03]


async def test_a_cleared_deadline_is_not_met_and_another_after_it_is() -> None:
    met: list[str] = []
    deadlines = Deadlines()
    cleared = partial(met.append, "cleared")
    deadlines.set(cleared, 0.01)
    deadlines.clear(cleared)
    deadlines.clear(cleared)
    deadlines.set(partial(met.append, "kept"), 0.02)
    await until(lambda: bool(met))
    assert met == ["kept"]


async def test_a_deadline_set_again_is_the_later_one() -> None:
    deadlines, over = Deadlines(), asyncio.Event()
    first = deadlines.set(over.set, 0.01)
    assert deadlines.set(over.set, 0.05) >= first + 0.03
    await over.wait()
    assert asyncio.get_running_loop().time() >= first + 0.03


async def test_a_callback_may_set_another_deadline() -> None:
    deadlines, over = Deadlines(), asyncio.Event()
    deadlines.set(lambda: deadlines.set(over.set, 0.01), 0.01)
    await over.wait()
