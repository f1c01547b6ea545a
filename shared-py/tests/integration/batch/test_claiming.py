"""Rows that a worker claims, how many at once, and the end of the worker."""

from __future__ import annotations

import pytest

from stack import until

from .parcels import Parcels
from .workers import Control, Start


async def test_a_worker_claims_until_nothing_is_claimable_and_exits_with_0(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=50)
    worker = start(CLAIM_SIZE="20")
    assert await worker.finish() == 0
    assert await parcels.statuses() == {"completed": 50}
    assert [batch["claimed"] for batch in await parcels.batches()] == [20, 20, 10]
    assert await parcels.written_twice() == []
    assert worker.lines[-1]["message"] == "nothing left to claim"
    assert worker.messages("WARNING") == worker.messages("ERROR") == []


async def test_rows_inserted_meanwhile_are_claimed_too(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=1)
    worker = start()
    await until(lambda: control.runs)
    await parcels.insert(fine=5)
    control.open_gate()
    assert await worker.finish() == 0
    assert await parcels.statuses() == {"completed": 6}


NOTHING = {
    "an empty table": "SELECT",
    "only rows of later": "INSERT INTO parcels (kind, next_attempt_at) VALUES ('fine', now() + interval '1 hour')",
    "only completed rows": "INSERT INTO parcels (kind, batch_status) VALUES ('fine', 'completed')",
    "only rows that were given up": (
        "INSERT INTO parcels (kind, batch_status, next_attempt_at) VALUES ('fine', 'failed', 'infinity')"
    ),
}


@pytest.mark.parametrize("statement", NOTHING.values(), ids=NOTHING)
async def test_without_claimable_rows_a_worker_exits_with_0(parcels: Parcels, start: Start, statement: str) -> None:
    await parcels.owner.execute(statement)
    assert await start().finish() == 0
    assert await parcels.batches() == []


async def test_a_worker_does_not_wait_for_rows_of_another(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=3)
    holder = start()
    await until(lambda: len(control.runs) == 3)
    assert await start().finish() == 0
    control.open_gate()
    assert await holder.finish() == 0
    assert [batch["pod_name"] for batch in await parcels.batches()] == ["pod-0"]


async def test_workers_share_the_rows_and_each_is_done_once(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=3000)
    first, second = start(CLAIM_SIZE="500", WORKERS="1"), start(CLAIM_SIZE="500", WORKERS="1")
    await until(lambda: len(control.runs) == 2)
    control.open_gate()
    assert await first.finish() == await second.finish() == 0
    assert await parcels.statuses() == {"completed": 3000}
    assert await parcels.written_twice() == []
    assert len(control.runs) == 3000
    assert {batch["pod_name"] for batch in await parcels.batches()} == {"pod-0", "pod-1"}


async def test_workers_limits_the_rows_in_flight(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=20)
    worker = start(WORKERS="3", LEASE_S="4")
    await until(lambda: len(control.runs) == 3)
    heartbeat = (await parcels.batch())["heartbeat_at"]

    async def a_heartbeat_later() -> bool:
        return bool((await parcels.batch())["heartbeat_at"] > heartbeat)

    await until(a_heartbeat_later)
    assert len(control.runs) == 3
    control.open_gate()
    assert await worker.finish() == 0
    assert await parcels.statuses() == {"completed": 20}


async def test_outcomes_are_written_while_other_rows_run(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=1, fine=30, is_refused=1)
    worker = start()

    async def all_but_the_one_that_waits() -> bool:
        return bool(await parcels.statuses() == {"completed": 30, "failed": 1, "processing": 1})

    await until(all_but_the_one_that_waits)
    control.open_gate()
    assert await worker.finish() == 0
    assert await parcels.statuses() == {"completed": 31, "failed": 1}
