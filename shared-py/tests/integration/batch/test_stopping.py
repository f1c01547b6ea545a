"""SIGTERM: running rows may complete within the grace, the rest goes back, and the process exits with 0."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from stack import until

from .parcels import Parcels
from .workers import Control, Start, Worker

GIVEN_BACK = {"batch_status": "pending", "attempts": 0, "is_due": True}


async def given_back(parcels: Parcels) -> list[dict[str, Any]]:
    return await parcels.all(
        "SELECT batch_status, attempts, next_attempt_at <= now() AS is_due FROM parcels"
        " WHERE batch_status <> 'completed' ORDER BY id"
    )


async def working(worker: Worker, control: Control, rows: int) -> None:
    """Wait until the worker has started this many rows."""
    await until(lambda: len(control.runs) == rows)
    assert worker.alive


async def test_running_rows_complete_and_the_others_go_back(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=10)
    worker = start(WORKERS="3")
    await working(worker, control, 3)
    worker.signal(signal.SIGTERM)
    await until(lambda: worker.is_stopping)
    control.open_gate()
    assert await worker.finish() == 0
    assert len(control.runs) == 3
    assert await parcels.statuses() == {"completed": 3, "pending": 7}
    assert await given_back(parcels) == [GIVEN_BACK] * 7
    assert await parcels.claimable() == 7
    batch = await parcels.batch()
    assert (batch["status"], batch["completed"], batch["failed"], batch["returned"]) == ("completed", 3, 0, 7)
    assert batch["finished_at"] is not None
    assert worker.lines[-1]["message"] == "shut down"


async def test_every_batch_in_hand_is_closed(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=12)
    worker = start(CLAIM_SIZE="4", WORKERS="3")
    await working(worker, control, 3)

    async def holds_two() -> bool:
        return [batch["status"] for batch in await parcels.batches()] == ["running"] * 2

    await until(holds_two)
    assert await parcels.claimable() == 4
    worker.signal(signal.SIGTERM)
    await until(lambda: worker.is_stopping)
    control.open_gate()
    assert await worker.finish() == 0
    assert await parcels.statuses() == {"completed": 3, "pending": 9}
    assert await given_back(parcels) == [GIVEN_BACK] * 9
    assert await parcels.claimable() == 9
    assert [(batch["status"], batch["completed"], batch["returned"]) for batch in await parcels.batches()] == [
        ("completed", 3, 1),
        ("completed", 0, 4),
    ]


async def test_returned_rows_are_done_by_the_next_worker(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=10)
    first = start(WORKERS="3", SHUTDOWN_GRACE_S="0")
    await working(first, control, 3)
    assert await first.terminate() == 0
    control.open_gate()
    assert await start().finish() == 0
    assert await parcels.statuses() == {"completed": 10}
    assert await parcels.written_twice() == []
    assert await parcels.value("SELECT max(attempts) FROM parcels") == 1


async def test_a_row_that_outlasts_the_grace_is_cancelled_and_goes_back(
    parcels: Parcels, start: Start, control: Control
) -> None:
    await parcels.insert(fine=5, waits=1)
    worker = start(SHUTDOWN_GRACE_S="0.3s")
    await working(worker, control, 6)
    assert await worker.terminate() == 0
    assert await parcels.statuses() == {"completed": 5, "pending": 1}
    assert await given_back(parcels) == [GIVEN_BACK]
    assert "SHUTDOWN_GRACE_S elapsed, giving back 1 rows in flight" in worker.messages("WARNING")
    batch = await parcels.batch()
    assert (batch["status"], batch["completed"], batch["returned"]) == ("completed", 5, 1)


async def test_a_row_that_hangs_uses_up_its_time_while_the_worker_stops(
    parcels: Parcels, start: Start, control: Control
) -> None:
    await parcels.insert(waits=1)
    worker = start(SHUTDOWN_GRACE_S="3600", HANDLER_TIMEOUT_S="1")
    await working(worker, control, 1)
    assert await worker.terminate() == 0
    row = await parcels.only("waits")
    assert (row["batch_status"], row["attempts"], row["error"]) == ("failed", 1, "HandlerTimeout: no result after 1 s")


async def test_a_second_sigterm_ends_the_grace(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=5)
    worker = start(SHUTDOWN_GRACE_S="3600")
    await working(worker, control, 5)
    worker.signal(signal.SIGTERM)
    await until(lambda: worker.is_stopping)
    assert await worker.terminate() == 0
    assert await parcels.statuses() == {"pending": 5}
    assert (await parcels.batch())["finished_at"] is not None


async def test_rows_without_an_await_are_interrupted_too(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(spins=20_000)
    worker = start(CLAIM_SIZE="20000")
    await until(lambda: len(control.runs) > 10)
    assert await worker.terminate() == 0
    statuses = await parcels.statuses()
    assert 0 < statuses["completed"] < 20_000
    assert statuses == {"completed": len(control.runs), "pending": 20_000 - len(control.runs)}
    assert await parcels.claimable() == statuses["pending"]


async def test_rows_that_wait_for_the_platform_go_back_at_once(
    parcels: Parcels, start: Start, control: Control
) -> None:
    await parcels.insert(needs_the_store=3)
    worker = start(SHUTDOWN_GRACE_S="3600")
    await until(lambda: worker.messages("WARNING"))
    assert await worker.terminate() == 0
    assert await given_back(parcels) == [GIVEN_BACK] * 3


async def test_sigint_acts_like_sigterm(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=1)
    worker = start(SHUTDOWN_GRACE_S="0")
    await working(worker, control, 1)
    worker.signal(signal.SIGINT)
    assert await worker.finish() == 0
    assert await parcels.statuses() == {"pending": 1}


async def test_a_claim_without_an_answer_ends_with_the_grace(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=1)
    async with parcels.owner.transaction():
        await parcels.owner.execute("LOCK TABLE keda_jobs.parcels_queue")
        worker = start(SHUTDOWN_GRACE_S="0")
        await until(lambda: connected(parcels))
        assert await worker.terminate() == 0
    assert await parcels.statuses() == {"pending": 1}


async def test_sigterm_ends_it_at_once_while_every_row_is_locked(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=1)
    async with parcels.owner.transaction():
        await parcels.owner.execute("SELECT FROM keda_jobs.parcels_queue FOR UPDATE")
        worker = start(LOG_LEVEL="DEBUG")
        await until(lambda: worker.has_logged("every claimable row is locked"))
        assert await worker.terminate() == 0
    assert worker.lines[-1]["message"] == "shut down"


async def connected(parcels: Parcels) -> bool:
    await parcels.owner.execute("SELECT pg_stat_clear_snapshot()")
    return bool(await parcels.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'parcels_worker'"))


async def test_sigterm_before_it_is_connected_ends_it_with_0(own_parcels: Parcels, start: Start) -> None:
    own_parcels.server.kill()
    worker = start()
    await until(lambda: worker.messages("WARNING"))
    assert await worker.terminate() == 0
    assert worker.lines[-1]["message"] == "stopped before it was connected"


@pytest.mark.parametrize("gate_is_open", [True, False])
async def test_sigterm_ends_it_within_the_grace_while_postgresql_is_unavailable(
    own_parcels: Parcels, start: Start, control: Control, gate_is_open: bool
) -> None:
    await own_parcels.insert(waits=3)
    worker = start(SHUTDOWN_GRACE_S="1", LEASE_S="3600")
    await working(worker, control, 3)
    own_parcels.server.kill()
    if gate_is_open:
        control.open_gate()
        await until(lambda: worker.messages("WARNING"))
    assert await worker.terminate() == 0
    assert any("other workers take its unwritten rows" in said for said in worker.messages("WARNING"))


async def test_a_server_that_does_not_answer_does_not_delay_the_end(
    own_parcels: Parcels, start: Start, control: Control
) -> None:
    await own_parcels.insert(waits=3)
    worker = start(SHUTDOWN_GRACE_S="0", LEASE_S="3600", CLAIM_TIMEOUT_S="3600")
    await working(worker, control, 3)
    pids = await own_parcels.all("SELECT pid FROM pg_stat_activity WHERE usename = 'parcels_worker'")
    frozen = [row["pid"] for row in pids]
    try:
        send(signal.SIGSTOP, own_parcels, frozen)
        assert await worker.terminate() == 0
    finally:
        send(signal.SIGCONT, own_parcels, frozen)
    assert worker.has_logged("other workers take its unwritten rows")


def send(number: signal.Signals, parcels: Parcels, backends: list[int]) -> None:
    assert parcels.server.pid is not None
    for pid in [parcels.server.pid, *backends]:
        os.kill(pid, number)
