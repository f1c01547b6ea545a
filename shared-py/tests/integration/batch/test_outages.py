"""Lost connections: no row is lost, none is written twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stack import until

from .parcels import ROLE, Parcels
from .workers import Control, Start, get


async def begun(control: Control, rows: int) -> None:
    await until(lambda: len(control.runs) >= rows)


async def test_cut_connections_are_replaced(parcels: Parcels, start: Start, control: Control) -> None:
    await parcels.insert(spins=1000)
    worker = start(CLAIM_SIZE="250")

    async def cut() -> int:
        return int(
            await parcels.value(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE usename = $1 AND datname = current_database()",
                ROLE,
            )
        )

    for runs in (50, 200, 350, 500):
        await begun(control, runs)
        await until(cut)
    control.open_gate()
    assert await worker.finish() == 0
    assert await parcels.statuses() == {"completed": 1000}
    assert await parcels.written_twice() == []
    assert sum(batch["completed"] for batch in await parcels.batches()) == 1000


async def test_a_worker_waits_for_a_restart_of_the_server(own_parcels: Parcels, start: Start, control: Control) -> None:
    await own_parcels.insert(waits=30)
    worker = start(CLAIM_SIZE="10")
    await until(lambda: len(control.runs) == 8)
    await asyncio.to_thread(own_parcels.server.stop_immediately)
    control.open_gate()
    await until(lambda: worker.messages("WARNING"))
    assert all("(attempt not counted): PostgreSQL" in said for said in worker.messages("WARNING"))
    await asyncio.to_thread(own_parcels.server.start)
    await own_parcels.connect()
    assert await worker.finish() == 0
    assert await own_parcels.statuses() == {"completed": 30}
    assert await own_parcels.written_twice() == []
    assert {batch["status"] for batch in await own_parcels.batches()} == {"completed"}
    assert len(control.runs) == 30


async def test_an_outage_longer_than_the_lease_costs_the_batch_and_no_row(
    own_parcels: Parcels, start: Start, control: Control
) -> None:
    await own_parcels.insert(waits=30)
    worker = start(CLAIM_SIZE="20", LEASE_S="1", CLAIM_TIMEOUT_S="60")
    await until(lambda: len(control.runs) == 8)
    await asyncio.to_thread(own_parcels.server.stop_immediately)
    await until(lambda: worker.has_logged("other workers take its unwritten rows"))
    await asyncio.to_thread(own_parcels.server.start)
    await own_parcels.connect()
    control.open_gate()
    assert await worker.finish() == 0
    assert await own_parcels.statuses() == {"completed": 30}
    assert await own_parcels.written_twice() == []
    batches = await own_parcels.batches()
    assert batches[0]["status"] == "abandoned"
    assert batches[0]["error"] == "the lease of pod-0 expired"
    assert {batch["status"] for batch in batches[1:]} == {"completed"}


async def test_a_worker_goes_on_with_the_new_password_and_no_attempt_is_counted(
    own_parcels: Parcels, start: Start, control: Control, tmp_path: Path
) -> None:
    password = tmp_path / "PGPASSWORD"
    await _set_password(own_parcels, "old")
    _ask_for_passwords(Path(await own_parcels.value("SHOW hba_file")))
    await own_parcels.owner.execute("SELECT pg_reload_conf()")
    password.write_text("old\n")
    await own_parcels.insert(waits=30)
    worker = start(CLAIM_SIZE="10", CLAIM_TIMEOUT_S="300", SECRETS_DIR=str(tmp_path))
    await until(lambda: len(control.runs) == 8)
    await _set_password(own_parcels, "new")
    await own_parcels.owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", ROLE)
    control.open_gate()
    await until(lambda: any("password authentication failed" in said for said in worker.messages("WARNING")))
    password.write_text("new\n")
    assert await worker.finish() == 0
    assert await own_parcels.statuses() == {"completed": 30}
    assert await own_parcels.value("SELECT max(attempts) FROM parcels") == 1
    assert await own_parcels.written_twice() == []


def _ask_for_passwords(access: Path) -> None:
    access.write_text(f"host all {ROLE} all scram-sha-256\n{access.read_text()}")


async def _set_password(parcels: Parcels, password: str) -> None:
    await parcels.owner.execute(f"ALTER ROLE {ROLE} PASSWORD '{password}'")


async def test_no_row_starts_during_an_outage_and_only_unwritten_ones_run_again(
    own_parcels: Parcels, start: Start, control: Control
) -> None:
    await own_parcels.insert(spins=2000)
    worker = start(CLAIM_SIZE="500", LEASE_S="2", CLAIM_TIMEOUT_S="60")
    await begun(control, 100)
    await asyncio.to_thread(own_parcels.server.stop_immediately)
    await until(lambda: worker.messages("WARNING"))
    started = len(control.runs)
    await until(lambda: worker.has_logged("other workers take its unwritten rows"))
    # A slice of the loop has four such rows.
    assert len(control.runs) <= started + 20
    started = len(control.runs)
    await asyncio.to_thread(own_parcels.server.start)
    await own_parcels.connect()
    written = await own_parcels.value("SELECT count(*) FROM ledger")
    control.open_gate()
    assert await worker.finish() == 0
    assert await own_parcels.statuses() == {"completed": 2000}
    assert await own_parcels.written_twice() == []
    assert len(control.runs) == 2000 + started - written


async def test_an_outage_longer_than_the_claim_timeout_ends_the_worker_with_1(
    own_parcels: Parcels, start: Start, control: Control
) -> None:
    await own_parcels.insert(waits=3)
    worker = start(LEASE_S="1", CLAIM_TIMEOUT_S="1")
    await until(lambda: len(control.runs) == 3)
    await asyncio.to_thread(own_parcels.server.stop_immediately)
    assert await worker.finish() == 1
    assert worker.lines[-1]["level"] == "CRITICAL"
    assert "PostgreSQL" in worker.lines[-1]["message"]
    assert "exception" not in worker.lines[-1]
    await asyncio.to_thread(own_parcels.server.start)
    await own_parcels.connect()
    control.open_gate()
    await until(own_parcels.claimable)
    assert await start().finish() == 0
    assert await own_parcels.statuses() == {"completed": 3}


async def test_rows_that_wait_too_long_for_the_platform_are_given_back(
    parcels: Parcels, start: Start, control: Control
) -> None:
    await parcels.insert(needs_the_store=5)
    worker = start(HOLD_TIMEOUT_S="2")
    await until(lambda: get(f"{worker.http_url}/readyz") == (503, "the store is away\n"))
    assert await worker.finish() == 1
    assert worker.lines[-1]["level"] == "CRITICAL"
    assert worker.lines[-1]["message"].startswith("the store is away; exiting after 2 s (HOLD_TIMEOUT_S)")
    assert await parcels.statuses() == {"pending": 5}
    control.open_gate()
    assert await start().finish() == 0
    assert (await parcels.all("SELECT DISTINCT batch_status, attempts, error FROM parcels")) == [
        {"batch_status": "completed", "attempts": 1, "error": None}
    ]


@pytest.mark.parametrize(
    ("refuse", "reason"),
    [
        (f"ALTER ROLE {ROLE} NOLOGIN", "is not permitted to log in"),  # 28000
        (f"REVOKE ALL ON parcels FROM {ROLE}", "permission denied"),  # 42501
    ],
)
async def test_a_role_that_is_refused_meanwhile_ends_the_worker_with_2(
    own_parcels: Parcels, start: Start, control: Control, refuse: str, reason: str
) -> None:
    await own_parcels.insert(waits=3)
    worker = start(LEASE_S="1")
    await until(lambda: len(control.runs) == 3)
    await own_parcels.owner.execute(refuse)
    await own_parcels.owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", ROLE)
    control.open_gate()
    assert await worker.finish() == 2
    [said] = worker.messages("CRITICAL")
    assert reason in said
    assert not any("exception" in line for line in worker.lines)
    await own_parcels.owner.execute(f"ALTER ROLE {ROLE} LOGIN")
    await own_parcels.apply_schema()
    await until(own_parcels.claimable)
    assert await start().finish() == 0
    assert await own_parcels.statuses() == {"completed": 3}
    assert await own_parcels.written_twice() == []
