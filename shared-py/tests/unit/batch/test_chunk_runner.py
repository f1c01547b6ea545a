"""Handlers that take many rows: each row has its own outcome, whatever the others do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs import Permanent, RetryAfter, Transient
from keda_jobs.batch import BatchContext, BatchSettings, batch_job
from keda_jobs.batch.batch_rows import BatchRows
from keda_jobs.batch.chunk_runner import ChunkRunner, make_runner
from keda_jobs.batch.gate import Gate
from keda_jobs.batch.row_tasks import RowTasks
from keda_jobs.claims.rows import ClaimedRow
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.errors import PlatformError
from keda_jobs.runtime.cpu import CpuPool
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.testing import run_rows


class Order(NamedTuple):
    number: int


class Parcel(NamedTuple):
    label: str


class Outcomes(NamedTuple):
    """Outcomes by the number of the order, and how often each order was handled."""

    completed: dict[int, str]
    failed: dict[int, str]
    handled: Counter[int]


async def outcomes_of(handle: Any, number: int, *, chunk: int = 10, timeout_s: float = 60) -> Outcomes:
    settings = BatchSettings.model_validate({"pg_dsn": "postgresql://nowhere/test"})
    handled: Counter[int] = Counter()

    async def pack(orders: Sequence[Order], _job: BatchContext) -> list[Parcel | Exception]:
        assert len(orders) <= chunk
        handled.update(order.number for order in orders)
        return await handle(orders)  # type: ignore[no-any-return]

    job = batch_job(pack, BatchSettings, table="orders", chunk=chunk)
    runner = make_runner(job.handler, BatchContext(settings, CpuPool(), None), RetryPolicy(3, 60), Shutdown(0))
    assert isinstance(runner, ChunkRunner)
    rows = BatchRows([ClaimedRow(key, 0, (key,)) for key in range(number)], Gate())
    tasks = RowTasks(
        lambda slot: runner.run(rows, slot),
        lambda claimed, error: runner.fail(rows, claimed, error),
        timeout_s,
        asyncio.Semaphore(2),
    )
    await tasks.run(2)
    rows.close()
    completed, failed = {}, {}
    while (piece := await rows.next_piece()) is not None:
        completed.update({row.row.key: row.values[0] for row in piece.completed})
        failed.update({failure.key: failure.error for failure in piece.failures})
    assert completed.keys().isdisjoint(failed)
    return Outcomes(completed, failed, handled)


def label(orders: Sequence[Order]) -> list[Parcel | Exception]:
    return [Parcel(f"order {order.number}") for order in orders]


async def test_each_row_is_handled_once_in_chunks() -> None:
    async def handle(orders: Sequence[Order]) -> list[Parcel | Exception]:
        return label(orders)

    found = await outcomes_of(handle, 25)
    assert found.completed == {number: f"order {number}" for number in range(25)}
    assert set(found.handled.values()) == {1}


async def test_an_exception_among_the_results_fails_its_row_only() -> None:
    async def handle(orders: Sequence[Order]) -> list[Any]:
        return [
            {3: Permanent("no street"), 7: None, 11: ValueError("weight"), 19: "a label"}.get(
                order.number, Parcel("fine")
            )
            for order in orders
        ]

    found = await outcomes_of(handle, 25)
    assert found.failed == {
        3: "Permanent: no street",
        7: "TypeError: the handler returned NoneType, not Parcel",
        11: "ValueError: weight",
        19: "TypeError: the handler returned str, not Parcel",
    }
    assert len(found.completed) == 21
    assert set(found.handled.values()) == {1}


class Stray(BaseException):
    """What no handler should raise."""


WAYS_TO_BREAK: dict[str, Any] = {
    "Permanent": Permanent("no"),
    "Transient": Transient("no"),
    "RetryAfter": RetryAfter("no", delay_s=5),
    "KeyError": KeyError("no"),
    "CancelledError": asyncio.CancelledError(),
    "SystemExit": SystemExit(3),
    "Stray": Stray(),
    "one short": -1,
    "one more": 1,
    "no list": None,
}


@given(
    bad=st.dictionaries(st.integers(0, 39), st.sampled_from(sorted(WAYS_TO_BREAK)), max_size=8),
    chunk=st.integers(1, 50),
)
def test_a_row_that_breaks_its_chunk_in_any_way_fails_alone(bad: dict[int, str], chunk: int) -> None:
    async def handle(orders: Sequence[Order]) -> Any:
        results = label(orders)
        for order in orders:
            match WAYS_TO_BREAK.get(bad.get(order.number, "")):
                case BaseException() as error:
                    raise error
                case int() as change:
                    return (results + results)[: len(results) + change]
                case None if order.number in bad:
                    return None
        return results

    found = asyncio.run(outcomes_of(handle, 40, chunk=chunk))
    assert found.failed.keys() == bad.keys()
    assert found.completed.keys() == set(range(40)) - bad.keys()
    # Halving a chunk of 50 rows takes six steps.
    assert max(found.handled.values()) <= 7


async def test_a_row_that_hangs_is_found_and_fails_alone() -> None:
    async def handle(orders: Sequence[Order]) -> list[Parcel | Exception]:
        if any(order.number == 6 for order in orders):
            await asyncio.Event().wait()
        return label(orders)

    found = await outcomes_of(handle, 16, chunk=8, timeout_s=0.05)
    assert found.failed == {6: "HandlerTimeout: no result after 0.05 s"}
    assert len(found.completed) == 15


@pytest.mark.parametrize("is_raised", [True, False])
async def test_an_unavailable_platform_costs_no_row_and_no_attempt(is_raised: bool) -> None:
    failing = True

    async def handle(orders: Sequence[Order]) -> list[Parcel | Exception]:
        nonlocal failing
        results = label(orders)
        if failing and orders[0].number == 0:
            failing = False
            unavailable = PlatformError("quota used up", delay_s=0.01)
            if is_raised:
                raise unavailable
            results[2] = unavailable
        return results

    found = await outcomes_of(handle, 12, chunk=6)
    assert len(found.completed) == 12
    assert found.handled[2] == 2
    assert found.handled[0] == (2 if is_raised else 1)


async def pack_all(orders: list[Order], job: BatchContext) -> list[Parcel | Permanent]:
    return [Permanent("negative") if order.number < 0 else Parcel(f"order {order.number}") for order in orders]


async def test_an_author_tests_many_rows_at_once() -> None:
    fine, refused = await run_rows(pack_all, [{"number": 1}, {"number": -1}])
    assert (fine.written, fine.failure) == (Parcel("order 1"), None)
    assert refused.written is None
    assert refused.failure is not None
    assert (refused.failure.error, refused.failure.delay_s) == ("Permanent: negative", None)
