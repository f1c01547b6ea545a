"""Records of a worker in `batch_jobs` and in its log."""

from __future__ import annotations

import socket

from stack import until

from .parcels import Parcels
from .workers import Control, Start


async def test_a_batch_records_its_pod_counts_and_rate(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=1, fine=5, fails=2, is_refused=1)
    worker = start(POD_NAME="users-batch-x7kq2")

    async def all_but_one() -> bool:
        return (await parcels.batch())["completed"] == 5 if await parcels.batches() else False

    await until(all_but_one)
    batch = await parcels.batch()
    assert (batch["pod_name"], batch["status"], batch["claimed"]) == ("users-batch-x7kq2", "running", 9)
    assert (batch["completed"], batch["failed"], batch["given_up"]) == (5, 3, 1)
    assert batch["finished_at"] is None
    control.open_gate()
    assert await worker.finish() == 0
    batch = await parcels.batch()
    assert (batch["status"], batch["completed"], batch["returned"], batch["error"]) == ("completed", 6, 0, None)
    assert batch["rows_per_s"] > 0
    assert batch["started_at"] < batch["heartbeat_at"] <= batch["finished_at"]


async def test_without_a_pod_name_the_host_name_is_used(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=1)
    assert await start(POD_NAME="").finish() == 0
    assert (await parcels.batch())["pod_name"] == socket.gethostname()


async def test_each_batch_is_one_line(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=5, fails=2, is_refused=1)
    worker = start()
    assert await worker.finish() == 0
    [line] = [line for line in worker.lines if "batch_id" in line]
    assert (line["level"], line["message"]) == ("INFO", f"batch {line['batch_id']}: 8 rows")
    assert (line["completed"], line["failed"], line["given_up"], line["returned"]) == (5, 3, 1, 0)


async def test_an_internal_error_closes_the_batch_as_failed_and_loses_nothing(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=10)
    await parcels.owner.execute(
        "CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'broken'; END$$;"
        " CREATE TRIGGER break BEFORE UPDATE ON keda_jobs.batch_jobs FOR EACH ROW WHEN (NEW.failed + NEW.completed > 0)"
        " EXECUTE FUNCTION break()"
    )
    worker = start()
    assert await worker.finish() == 1
    assert await parcels.statuses() == {"pending": 10}
    assert await parcels.claimable() == 10
    batch = await parcels.batch()
    assert (batch["status"], batch["returned"]) == ("failed", 10)
    assert batch["error"] == "StatementRefused: PostgreSQL refused a row: RaiseError (P0001)"
    assert worker.lines[-1]["level"] == "CRITICAL"
    assert "RaiseError (P0001)" in worker.lines[-1]["exception"]
    await parcels.owner.execute("DROP TRIGGER break ON keda_jobs.batch_jobs")
    assert await start().finish() == 0
    assert await parcels.statuses() == {"completed": 10}
    assert await parcels.written_twice() == []
    assert await parcels.value("SELECT max(attempts) FROM parcels") == 1


async def test_revoking_a_right_ends_a_running_worker_with_2(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(waits=2)
    worker = start()
    await until(lambda: len(control.runs) == 2)
    await parcels.owner.execute("REVOKE UPDATE (label) ON parcels FROM parcels_worker")
    control.open_gate()
    assert await worker.finish() == 2
    assert "permission denied" in worker.lines[-1]["message"]
    assert await parcels.statuses() == {"pending": 2}
    assert (await parcels.batch())["status"] == "failed"
