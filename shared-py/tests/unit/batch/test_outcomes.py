"""When what became of rows is written."""

from __future__ import annotations

import asyncio

from keda_jobs.batch.outcomes import Outcomes
from keda_jobs.claims.queue import Claimed, Done, Failure

DONE = Done(Claimed(1, 0, ()), ())
FAILURE = Failure(2, "no", None)


async def test_what_a_second_brought_is_taken() -> None:
    outcomes = Outcomes()
    outcomes.done.append(DONE)
    outcomes.failures.append(FAILURE)
    assert await outcomes.take() == ([DONE], [FAILURE])
    assert await outcomes.take() == ([], [])


async def test_a_good_many_are_taken_at_once() -> None:
    outcomes = Outcomes()
    taken = asyncio.create_task(outcomes.take())
    await asyncio.sleep(0)
    outcomes.done += [DONE] * 5000
    outcomes.look()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert taken.done()
    assert len((await taken)[0]) == 5000


async def test_when_all_came_the_writers_are_called_at_once_and_end_when_all_are_taken() -> None:
    outcomes = Outcomes()
    outcomes.done.append(DONE)
    outcomes.complete()
    assert not outcomes.are_over
    assert await outcomes.take() == ([DONE], [])
    assert outcomes.are_over
