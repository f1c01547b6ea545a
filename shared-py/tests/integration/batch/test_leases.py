"""A worker without heartbeats loses its batch, and then writes nothing of it."""

from __future__ import annotations

import signal

from stack import until

from .parcels import Parcels
from .workers import Control, Start


async def test_a_frozen_worker_loses_its_batch_and_writes_nothing_of_it(
    parcels: Parcels, start: Start, control: Control
) -> None:
    await parcels.insert(waits=6)
    frozen = start(LEASE_S="1")
    await until(lambda: len(control.runs) == 6)
    frozen.signal(signal.SIGSTOP)
    await until(parcels.claimable)
    control.open_gate()
    assert await start().finish() == 0
    assert await parcels.statuses() == {"completed": 6}
    frozen.signal(signal.SIGCONT)
    assert await frozen.finish() == 0
    assert any("the lease of 1 s expired" in said for said in frozen.messages("WARNING"))
    assert await parcels.written_twice() == []
    batches = await parcels.batches()
    assert (batches[0]["pod_name"], batches[0]["status"], batches[0]["completed"]) == ("pod-0", "abandoned", 0)
    assert {batch["pod_name"] for batch in batches[1:]} == {"pod-1"}


async def test_every_batch_of_a_killed_worker_is_recovered(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=8)
    killed = start(LEASE_S="2", CLAIM_SIZE="4", WORKERS="3")

    async def holds_two() -> bool:
        return len(control.runs) == 3 and len(await parcels.batches()) == 2

    await until(holds_two)
    killed.kill()

    async def all_are_claimable() -> bool:
        return await parcels.claimable() == 8

    await until(all_are_claimable)
    control.open_gate()
    assert await start().finish() == 0
    assert await parcels.statuses() == {"completed": 8}
    assert await parcels.written_twice() == []
    assert [batch["status"] for batch in (await parcels.batches())[:2]] == ["abandoned"] * 2
    assert await parcels.value("SELECT max(attempts) FROM parcels") == 1


async def test_a_worker_that_lost_its_batch_continues_with_the_next(
    parcels: Parcels, start: Start, control: Control
) -> None:
    await parcels.insert(waits=2)
    worker = start(LEASE_S="1")
    await until(lambda: len(control.runs) == 2)
    worker.signal(signal.SIGSTOP)
    await until(parcels.claimable)
    worker.signal(signal.SIGCONT)
    await until(lambda: worker.has_logged("recovered 2 rows from a worker whose lease expired"))
    control.open_gate()
    assert await worker.finish() == 0
    assert await parcels.statuses() == {"completed": 2}
    assert await parcels.written_twice() == []


async def test_a_handler_that_blocks_the_loop_beyond_its_lease_loses_its_batch_and_is_retried(
    parcels: Parcels, start: Start, control: Control
) -> None:
    await parcels.insert(freezes=1)
    worker = start(LEASE_S="1", MAX_ATTEMPTS="3", RETRY_STEP_S="0.01")
    await until(lambda: len(control.runs) == 1)
    await until(parcels.claimable)
    control.open_gate()
    assert await worker.finish() == 0
    while (await parcels.only("freezes"))["batch_status"] != "completed":
        await until(parcels.claimable)
        assert await start().finish() == 0
    # The worker had not claimed it as a suspect.
    assert (await parcels.only("freezes"))["attempts"] == 1
    assert await parcels.written_twice() == []


async def test_a_long_batch_keeps_its_lease_by_heartbeats(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=1)
    worker = start(LEASE_S="3")
    await until(lambda: len(control.runs) == 1)
    started = (await parcels.batch())["started_at"]

    async def more_than_a_lease_later() -> bool:
        return bool(await parcels.value("SELECT clock_timestamp() > $1::timestamptz + interval '4 s'", started))

    await until(more_than_a_lease_later)
    assert await parcels.claimable() == 0
    control.open_gate()
    assert await worker.finish() == 0
    assert [batch["status"] for batch in await parcels.batches()] == ["completed"]
