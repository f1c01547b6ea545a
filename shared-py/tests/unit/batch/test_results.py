"""Buffered outcomes: when they are drained."""

from __future__ import annotations

import asyncio

from keda_jobs.batch.results import ResultBuffer
from keda_jobs.claims.rows import ClaimedRow, CompletedRow, Failure

COMPLETED = CompletedRow(ClaimedRow(1, 0, ()), ())
FAILURE = Failure(2, "no", None)


async def test_outcomes_are_drained_after_a_second() -> None:
    results = ResultBuffer()
    results.completed.append(COMPLETED)
    results.failures.append(FAILURE)
    assert await results.drain() == ([COMPLETED], [FAILURE])
    assert await results.drain() == ([], [])


async def test_a_full_buffer_is_drained_at_once() -> None:
    results = ResultBuffer()
    draining = asyncio.create_task(results.drain())
    await asyncio.sleep(0)
    results.completed += [COMPLETED] * 5000
    results.wake_if_full()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert draining.done()
    assert len((await draining)[0]) == 5000


async def test_closing_drains_at_once_and_the_buffer_is_then_exhausted() -> None:
    results = ResultBuffer()
    results.completed.append(COMPLETED)
    results.close()
    assert not results.exhausted
    assert await results.drain() == ([COMPLETED], [])
    assert results.exhausted
