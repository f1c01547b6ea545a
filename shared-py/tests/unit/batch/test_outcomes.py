"""When what became of rows is written."""

from __future__ import annotations

import asyncio

from keda_jobs.batch.results import ResultBuffer
from keda_jobs.claims.queue import ClaimedRow, CompletedRow, Failure

DONE = CompletedRow(ClaimedRow(1, 0, ()), ())
FAILURE = Failure(2, "no", None)


async def test_what_a_second_brought_is_taken() -> None:
    results = ResultBuffer()
    results.completed.append(DONE)
    results.failures.append(FAILURE)
    assert await results.drain() == ([DONE], [FAILURE])
    assert await results.drain() == ([], [])


async def test_a_good_many_are_taken_at_once() -> None:
    results = ResultBuffer()
    taken = asyncio.create_task(results.drain())
    await asyncio.sleep(0)
    results.completed += [DONE] * 5000
    results.wake_if_full()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert taken.done()
    assert len((await taken)[0]) == 5000


async def test_when_all_came_the_writers_are_called_at_once_and_end_when_all_are_taken() -> None:
    results = ResultBuffer()
    results.completed.append(DONE)
    results.close()
    assert not results.exhausted
    assert await results.drain() == ([DONE], [])
    assert results.exhausted
