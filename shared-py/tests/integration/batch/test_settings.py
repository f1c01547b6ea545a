"""A wrong setting or prerequisite is one clear line and exit 2. A long outage is one and exit 1."""

from __future__ import annotations

import pytest

from stack import free_port

from .parcels import Parcels
from .workers import Start, Worker

SECRET = "hunter2-of-the-worker"


async def refused(worker: Worker) -> str:
    """Return the only log line of a worker that exits with 2."""
    assert await worker.finish() == 2
    [line] = worker.lines
    assert line["level"] == "CRITICAL"
    assert "exception" not in line
    return str(line["message"])


async def test_all_wrong_settings_are_named_at_once(start: Start) -> None:
    said = await refused(start(CLAIM_SIZE="0", LEASE_S="soon", PG_DSN=""))
    assert all(name in said for name in ("CLAIM_SIZE", "LEASE_S", "PG_DSN is not set"))


async def test_settings_are_logged_once_without_the_password(parcels: Parcels, start: Start) -> None:
    durations = dict.fromkeys(("CLAIM_TIMEOUT_S", "SHUTDOWN_GRACE_S", "LEASE_S", "RETRY_STEP_S"), "2s")
    worker = start(PG_DSN=parcels.dsn.replace("@", f":{SECRET}@"), **durations)
    assert await worker.finish() == 0
    [settings] = [said for said in worker.messages("INFO") if said.startswith("settings:")]
    assert all(f" {name}=2.0" in settings for name in durations)
    assert SECRET not in worker.log.read_text()


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:{secret}@127.0.0.1:{port}/database",
        "postgresql://user:{secret}@no-such-host.invalid:{port}/database",
        "postgresql://user:/{secret}@127.0.0.1:{port}/database",
        "postgresql://user:{secret}@127.0.0.1:1{port}/database",
    ],
)
async def test_no_connection_error_reveals_the_password(parcels: Parcels, start: Start, dsn: str) -> None:
    worker = start(PG_DSN=dsn.format(secret=SECRET, port=free_port()), CLAIM_TIMEOUT_S="0.2")
    assert await worker.finish() in (1, 2)
    text = worker.log.read_text()
    assert SECRET not in text
    assert "exception" not in text
    assert worker.lines[-1]["level"] == "CRITICAL"


async def test_a_database_unavailable_at_start_is_retried_and_then_exit_1(start: Start, parcels: Parcels) -> None:
    worker = start(PG_DSN=f"postgresql://nobody@127.0.0.1:{free_port()}/users", CLAIM_TIMEOUT_S="1.5s")
    assert await worker.finish() == 1
    assert worker.messages("WARNING")
    assert all("(attempt not counted): PostgreSQL" in said for said in worker.messages("WARNING"))
    [said] = worker.messages("CRITICAL")
    assert "PostgreSQL: " in said
    assert "CLAIM_TIMEOUT_S" in said
    assert worker.messages("ERROR") == []


async def test_an_unknown_role_is_exit_2(parcels: Parcels, start: Start) -> None:
    worker = start(PG_DSN=parcels.server.dsn_of(parcels.database, "no_such_role"))
    assert await worker.finish() == 2
    assert 'PG_DSN: role "no_such_role" does not exist' in worker.lines[-1]["message"]


async def test_a_database_without_the_schema_is_exit_2(parcels: Parcels, start: Start) -> None:
    await parcels.owner.execute("DROP VIEW keda_jobs.parcels_claimable")
    worker = start()
    assert await worker.finish() == 2
    assert "apply the job's schema first" in worker.lines[-1]["message"]


async def test_ranges_locked_for_too_long_are_exit_1(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=3)
    async with parcels.owner.transaction():
        await parcels.owner.execute("SELECT FROM keda_jobs.parcels_queue FOR UPDATE")
        worker = start(CLAIM_TIMEOUT_S="1")
        assert await worker.finish() == 1
    [said] = worker.messages("CRITICAL")
    assert "CLAIM_TIMEOUT_S" in said
    assert await start().finish() == 0
    assert await parcels.statuses() == {"completed": 3}


async def test_rows_that_an_idle_transaction_has_locked_do_not_stop_a_worker(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=30)
    async with parcels.owner.transaction():
        await parcels.owner.execute("SELECT FROM parcels WHERE id IN (3, 7) FOR UPDATE")
        worker = start()
        assert await worker.finish() == 0
        assert await parcels.statuses() == {"completed": 28, "pending": 2}
    pid = await parcels.value("SELECT pg_backend_pid()")
    assert any(f"2 rows are set aside: locked by process {pid} (" in said for said in worker.messages("WARNING"))


async def test_the_schema_can_be_applied_again_while_a_worker_runs(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=2000)
    worker = start(CLAIM_SIZE="100")
    await parcels.apply_schema()
    assert await worker.finish() == 0
    assert await parcels.statuses() == {"completed": 2000}
