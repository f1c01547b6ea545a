"""A worker that gives no sign of life loses its batch, and then writes nothing of it."""

from __future__ import annotations

import signal

from stack import until

from .parcels import Parcels
from .workers import Start, Steering


async def test_a_frozen_worker_loses_its_batch_and_writes_nothing_of_it(
    parcels: Parcels, start: Start, steering: Steering
) -> None:
    await parcels.insert(waits=6)
    frozen = start(LEASE_S="1")
    await until(lambda: len(steering.runs) == 6)
    frozen.signal(signal.SIGSTOP)
    await until(parcels.claimable)
    steering.open_the_gate()
    assert await start().ended() == 0
    assert await parcels.statuses() == {"completed": 6}
    frozen.signal(signal.SIGCONT)
    assert await frozen.ended() == 0
    assert any("the lease of 1 s expired" in said for said in frozen.said("WARNING"))
    assert await parcels.written_twice() == []
    batches = await parcels.batches()
    assert (batches[0]["pod_name"], batches[0]["status"], batches[0]["completed"]) == ("pod-0", "abandoned", 0)
    assert {batch["pod_name"] for batch in batches[1:]} == {"pod-1"}


async def test_a_worker_that_lost_its_batch_goes_on_with_the_next(
    parcels: Parcels, start: Start, steering: Steering
) -> None:
    await parcels.insert(waits=2)
    worker = start(LEASE_S="1")
    await until(lambda: len(steering.runs) == 2)
    worker.signal(signal.SIGSTOP)
    await until(parcels.claimable)
    worker.signal(signal.SIGCONT)
    await until(lambda: worker.says("recovered 2 rows from a worker whose lease expired"))
    steering.open_the_gate()
    assert await worker.ended() == 0
    assert await parcels.statuses() == {"completed": 2}
    assert await parcels.written_twice() == []


async def test_a_handler_that_freezes_the_loop_for_a_lease_loses_its_batch_and_is_tried_again(
    parcels: Parcels, start: Start, steering: Steering
) -> None:
    await parcels.insert(freezes=1)
    worker = start(LEASE_S="1", MAX_ATTEMPTS="3", RETRY_STEP_S="0.01")
    await until(lambda: len(steering.runs) == 1)
    await until(parcels.claimable)
    steering.open_the_gate()
    assert await worker.ended() == 0
    while (await parcels.of("freezes"))["batch_status"] != "completed":
        await until(parcels.claimable)
        assert await start().ended() == 0
    assert (await parcels.of("freezes"))["attempts"] == 2
    assert await parcels.written_twice() == []


async def test_a_long_batch_keeps_its_lease_by_heartbeats(parcels: Parcels, start: Start, steering: Steering) -> None:
    await parcels.insert(waits=1)
    worker = start(LEASE_S="3")
    await until(lambda: len(steering.runs) == 1)
    started = (await parcels.batch())["started_at"]

    async def two_leases_later() -> bool:
        return bool(await parcels.value("SELECT clock_timestamp() > $1::timestamptz + interval '6 s'", started))

    await until(two_leases_later)
    assert await parcels.claimable() == 0
    steering.open_the_gate()
    assert await worker.ended() == 0
    assert [batch["status"] for batch in await parcels.batches()] == ["completed"]
