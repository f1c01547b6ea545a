"""The inner loop: time slices, results, and errors that are not a row's fault."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import pytest

from keda_jobs import Permanent
from keda_jobs.batch import BatchContext, BatchSettings, batch_job
from keda_jobs.batch.batch_rows import BatchRows, Piece
from keda_jobs.batch.gate import Gate
from keda_jobs.batch.row_runner import RowRunner, Slot
from keda_jobs.batch.row_tasks import RowTasks
from keda_jobs.claims.rows import ClaimedRow, Failure
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.errors import PlatformError, StoreUnavailable
from keda_jobs.runtime.cpu import CpuPool
from keda_jobs.runtime.shutdown import Shutdown
from stack import until


class Order(NamedTuple):
    number: int


Handler = Callable[[Order, BatchContext], Awaitable[None]]


class Bench:
    """A runner with waiting rows."""

    def __init__(self, handler: Handler, rows: int, workers: int = 1) -> None:
        settings = BatchSettings.model_validate({"pg_dsn": "postgresql://nowhere/test", "workers": workers})
        job = batch_job(handler, BatchSettings, table="orders")
        self.shutdown = Shutdown(grace_s=60)
        self.rows = BatchRows([ClaimedRow(number, 0, (number,)) for number in range(rows)], Gate())
        self.runner = RowRunner(job.handler, BatchContext(settings, CpuPool(), None), RetryPolicy(3, 60), self.shutdown)

    async def run(self) -> None:
        await self.runner.run(self.rows, Slot())

    async def run_limited(self, workers: int, timeout_s: float) -> None:
        tasks = RowTasks(
            lambda slot: self.runner.run(self.rows, slot),
            lambda claimed, error: self.runner.fail(self.rows, claimed, error),
            timeout_s,
            asyncio.Semaphore(workers),
        )
        await tasks.run(workers)

    @property
    def waiting(self) -> deque[ClaimedRow]:
        return self.rows.waiting

    @property
    def done(self) -> list[int]:
        return [completed.row.key for piece in self._pieces() for completed in piece.completed]

    @property
    def failures(self) -> list[Failure]:
        return [failure for piece in self._pieces() for failure in piece.failures]

    def _pieces(self) -> Sequence[Piece]:
        self.rows.look()
        return self.rows._pieces


async def succeed(_order: Order, _job: BatchContext) -> None:
    return None


async def test_each_row_runs_once_in_order() -> None:
    bench = Bench(succeed, 1000)
    await bench.run()
    assert bench.done == list(range(1000))
    assert not bench.waiting


async def test_tasks_share_the_rows() -> None:
    bench = Bench(succeed, 1000, workers=8)
    await asyncio.gather(*(bench.run() for _ in range(8)))
    assert sorted(bench.done) == list(range(1000))


async def test_no_row_starts_after_a_shutdown_request() -> None:
    async def succeed_three_times(order: Order, _job: BatchContext) -> None:
        if order.number == 2:
            bench.shutdown.request()

    bench = Bench(succeed_three_times, 10)
    await bench.run()
    assert bench.done == [0, 1, 2]
    assert len(bench.waiting) == 7


async def test_no_row_starts_in_another_slot_while_results_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keda_jobs.batch.row_runner._SLICE_S", 60.0)
    started: list[int] = []
    ends = [asyncio.Event(), asyncio.Event()]

    async def handle(order: Order, _job: BatchContext) -> None:
        started.append(order.number)
        if order.number < len(ends):
            await ends[order.number].wait()

    bench, gate, writable = Bench(handle, 5, workers=2), Gate(), True
    bench.rows = BatchRows(list(bench.waiting), gate, may_write=lambda: writable)
    async with asyncio.TaskGroup() as group:
        for _ in ends:
            group.create_task(bench.run())
        await until(lambda: started == [0, 1])
        writable = False
        ends[0].set()
        await until(lambda: bench.rows.in_flight == 1)
        ends[1].set()  # within the time slice that the first has begun
        await until(lambda: bench.rows.in_flight == 0)
        assert started == [0, 1]
        writable = True
        gate.changed()
    assert bench.done == list(range(5))


async def test_no_row_starts_in_another_slot_while_a_server_asked_for_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keda_jobs.batch.row_runner._SLICE_S", 60.0)
    started: list[int] = []
    ended: list[int] = []
    ends = [asyncio.Event() for _ in range(3)]

    async def handle(order: Order, _job: BatchContext) -> None:
        started.append(order.number)
        await ends[order.number].wait()
        ended.append(order.number)
        if order.number == 0:
            raise PlatformError("the quota is used up", delay_s=60.0)

    bench = Bench(handle, 6, workers=3)
    async with asyncio.TaskGroup() as group:
        for _ in ends:
            group.create_task(bench.run())
        await until(lambda: started == [0, 1, 2])
        for end in ends:  # the last within the time slice that the second has begun
            end.set()
            await until(lambda: len(ended) == sum(one.is_set() for one in ends))
        assert started == [0, 1, 2]
        bench.shutdown.request()


async def test_other_tasks_run_while_handlers_never_await() -> None:
    others_turns: list[int] = []

    async def spin(order: Order, _job: BatchContext) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + 0.002
        while loop.time() < ends:
            pass

    bench = Bench(spin, 200, workers=8)

    async def other() -> None:
        while bench.waiting:
            others_turns.append(len(bench.done))
            await asyncio.sleep(0)

    await asyncio.gather(other(), *(bench.run() for _ in range(8)))
    # 2 ms a row and slices of 20 ms: hardly more than 16 rows between two turns of the loop.
    between = [after - before for before, after in itertools.pairwise(others_turns)]
    assert max(between) <= 24


async def test_an_unavailable_platform_costs_no_row_and_no_attempt(caplog: pytest.LogCaptureFixture) -> None:
    failures = iter([True, True, False])

    async def need_the_store(_order: Order, _job: BatchContext) -> None:
        if next(failures, False):
            raise StoreUnavailable("the store is unavailable")

    bench = Bench(need_the_store, 3)
    with caplog.at_level(logging.INFO):
        await bench.run()
    assert bench.done == [0, 1, 2]
    assert not bench.failures
    messages = [record.message for record in caplog.records]
    assert all("(attempt not counted): the store is unavailable" in line for line in messages[:-1])
    assert messages[-1] == "resuming after 2 failed tries"


async def test_a_shutdown_request_ends_the_backoff_and_leaves_the_row() -> None:
    async def need_the_store(_order: Order, _job: BatchContext) -> None:
        bench.shutdown.request()
        raise StoreUnavailable("the store is unavailable")

    bench = Bench(need_the_store, 3)
    await bench.run()
    assert len(bench.waiting) == 3
    assert not bench.done
    assert not bench.failures


async def test_cancelling_the_task_fails_no_row() -> None:
    begun = asyncio.Event()

    async def hang(_order: Order, _job: BatchContext) -> None:
        begun.set()
        await asyncio.Event().wait()

    bench = Bench(hang, 3)
    task = asyncio.create_task(bench.run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not bench.failures


async def test_a_handler_that_cancels_its_own_task_fails_its_row_only() -> None:
    async def cancel(order: Order, _job: BatchContext) -> None:
        if order.number == 1:
            task = asyncio.create_task(asyncio.sleep(60))
            task.cancel()
            await task

    bench = Bench(cancel, 3)
    await bench.run()
    assert bench.done == [0, 2]
    [failure] = bench.failures
    assert (failure.key, failure.error, failure.delay_s) == (1, "HandlerQuit: the handler raised CancelledError", 60)


async def test_bugs_are_logged_once_for_each_class_and_failures_never(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception] = [
        KeyError("secret"),
        KeyError("b"),
        ZeroDivisionError(),
        Permanent("no street"),
        KeyError("c"),
    ]

    async def fail(order: Order, _job: BatchContext) -> None:
        raise errors[order.number]

    bench = Bench(fail, len(errors))
    await bench.run()
    assert len(bench.failures) == 5
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError, ZeroDivisionError]
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text
    assert "raise errors[order.number]" in caplog.text


async def test_a_result_of_another_type_is_a_failure() -> None:
    async def answer(_order: Order, _job: BatchContext) -> Any:
        return 42

    async def declared(order: Order, job: BatchContext) -> None:
        return await answer(order, job)  # type: ignore[no-any-return]

    bench = Bench(declared, 1)
    await bench.run()
    [failure] = bench.failures
    assert failure.error == "TypeError: the handler returned int, not NoneType"


async def hang() -> None:
    await asyncio.Event().wait()


async def hang_and_return() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await hang()


async def hang_and_raise() -> None:
    try:
        await hang()
    except asyncio.CancelledError as error:
        raise StoreUnavailable("the store is unavailable") from error


@pytest.mark.parametrize("hanging", [hang, hang_and_return, hang_and_raise])
async def test_a_row_that_hangs_fails_after_its_time_and_the_others_are_done(
    hanging: Callable[[], Awaitable[None]],
) -> None:
    async def handle(order: Order, _job: BatchContext) -> None:
        if order.number in (1, 4):
            await hanging()

    bench = Bench(handle, 6)
    await bench.run_limited(1, 0.05)
    assert bench.done == [0, 2, 3, 5]
    assert [(failure.key, failure.error, failure.delay_s) for failure in bench.failures] == [
        (key, "HandlerTimeout: no result after 0.05 s", 60) for key in (1, 4)
    ]


async def test_a_row_that_ignores_its_cancellation_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("keda_jobs.batch.row_tasks._CANCEL_S", 0.05)
    released = asyncio.Event()

    async def handle(order: Order, _job: BatchContext) -> None:
        while order.number == 1 and not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    bench = Bench(handle, 4)
    await bench.run_limited(1, 0.05)
    assert bench.done == [0, 2, 3]
    assert [failure.key for failure in bench.failures] == [1]
    assert "the handler ignores its cancellation and is left behind" in caplog.text
    bench.waiting.append(ClaimedRow(9, 0, (9,)))
    released.set()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=10)
    # The task that was left behind has ended, with its row and without another.
    assert bench.done == [0, 2, 3]
    assert len(bench.waiting) == len(bench.failures) == 1


async def test_time_runs_while_a_shutdown_waits_for_rows_in_flight() -> None:
    async def handle(_order: Order, _job: BatchContext) -> None:
        bench.shutdown.request()
        await hang()

    bench = Bench(handle, 3)
    await bench.run_limited(1, 0.05)
    assert [failure.key for failure in bench.failures] == [0]
    assert len(bench.waiting) == 2


async def test_waiting_for_the_platform_uses_up_no_time() -> None:
    async def handle(_order: Order, _job: BatchContext) -> None:
        if not bench.runner.backoff.active:
            raise StoreUnavailable("the store is unavailable")

    bench = Bench(handle, 2)
    await bench.run_limited(1, 0.05)
    assert bench.done == [0, 1]
    assert not bench.failures
