"""Which rows a worker claims, how many at once, and when it ends."""

from __future__ import annotations

import pytest

from stack import until

from .parcels import Parcels
from .workers import Start, Steering


async def test_a_worker_claims_until_nothing_is_claimable_and_ends_with_0(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=50)
    worker = start(CLAIM_SIZE="20")
    assert await worker.ended() == 0
    assert await parcels.statuses() == {"completed": 50}
    assert [batch["claimed"] for batch in await parcels.batches()] == [20, 20, 10]
    assert await parcels.written_twice() == []
    assert worker.lines[-1]["message"] == "nothing left to claim"
    assert worker.said("WARNING") == worker.said("ERROR") == []


async def test_what_comes_while_it_works_is_claimed_too(parcels: Parcels, start: Start, steering: Steering) -> None:
    await parcels.insert(waits=1)
    worker = start()
    await until(lambda: steering.runs)
    await parcels.insert(fine=5)
    steering.open_the_gate()
    assert await worker.ended() == 0
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
async def test_where_nothing_is_claimable_a_worker_ends_with_0(parcels: Parcels, start: Start, statement: str) -> None:
    await parcels.owner.execute(statement)
    assert await start().ended() == 0
    assert await parcels.batches() == []


async def test_rows_that_a_live_worker_holds_are_not_waited_for(
    parcels: Parcels, start: Start, steering: Steering
) -> None:
    await parcels.insert(waits=3)
    holder = start()
    await until(lambda: len(steering.runs) == 3)
    assert await start().ended() == 0
    steering.open_the_gate()
    assert await holder.ended() == 0
    assert [batch["pod_name"] for batch in await parcels.batches()] == ["pod-0"]


async def test_workers_share_the_rows_and_each_is_done_once(parcels: Parcels, start: Start, steering: Steering) -> None:
    await parcels.insert(waits=3000)
    first, second = start(CLAIM_SIZE="500", WORKERS="1"), start(CLAIM_SIZE="500", WORKERS="1")
    await until(lambda: len(steering.runs) == 2)
    steering.open_the_gate()
    assert await first.ended() == await second.ended() == 0
    assert await parcels.statuses() == {"completed": 3000}
    assert await parcels.written_twice() == []
    assert len(steering.runs) == 3000
    assert {batch["pod_name"] for batch in await parcels.batches()} == {"pod-0", "pod-1"}


async def test_so_many_rows_as_workers_are_in_work_at_once(parcels: Parcels, start: Start, steering: Steering) -> None:
    await parcels.insert(waits=20)
    worker = start(WORKERS="3", LEASE_S="4")
    await until(lambda: len(steering.runs) == 3)
    heartbeat = (await parcels.batch())["heartbeat_at"]

    async def a_heartbeat_later() -> bool:
        return bool((await parcels.batch())["heartbeat_at"] > heartbeat)

    await until(a_heartbeat_later)
    assert len(steering.runs) == 3
    steering.open_the_gate()
    assert await worker.ended() == 0
    assert await parcels.statuses() == {"completed": 20}


async def test_rows_that_ended_are_written_while_others_run(parcels: Parcels, start: Start, steering: Steering) -> None:
    await parcels.insert(waits=1, fine=30, is_refused=1)
    worker = start()

    async def all_but_the_one_that_waits() -> bool:
        return bool(await parcels.statuses() == {"completed": 30, "failed": 1, "processing": 1})

    await until(all_but_the_one_that_waits)
    steering.open_the_gate()
    assert await worker.ended() == 0
    assert await parcels.statuses() == {"completed": 31, "failed": 1}
