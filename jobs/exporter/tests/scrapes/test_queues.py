"""Metrics of claim queues."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import asyncpg
import pytest

from keda_jobs.claims import ClaimQueue, Failure
from keda_jobs.claims.check import QueueCheck
from keda_jobs.claims.failed_rows import FailedRows, RowFilter
from keda_jobs.claims.rows import CompletedRow, QueueHold
from stack import JobProcess, PostgresServer

from .conftest import PARCELS, Start
from .scraping import Numbers, scrape

Declare: TypeAlias = Callable[[], Awaitable[None]]
Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

IDLE = {
    "queue_claimable_rows": 0,
    "queue_waiting_rows": 0,
    "queue_set_aside_rows": 0,
    "queue_hold_seconds": 0,
    "queue_rows_failed_permanently": 0,
    "queue_batches_running": 0,
    "queue_batches_stale": 0,
    "queue_heartbeat_age_seconds": 0,
    "queue_stranded_rows": 0,
    'queue_rows_total{outcome="completed"}': 0,
    'queue_rows_total{outcome="failed"}': 0,
    'queue_rows_total{outcome="returned"}': 0,
    'queue_batches_total{status="completed"}': 0,
    'queue_batches_total{status="failed"}': 0,
    'queue_batches_total{status="abandoned"}': 0,
}


async def nonzero(exporter: JobProcess) -> Numbers:
    """Scrape the queue's numbers that are not zero, without those of the check at the schema's apply."""
    numbers = (await scrape(exporter))[PARCELS.batch_name]
    assert numbers.pop("queue_checked_timestamp_seconds") > 0
    assert numbers.pop("queue_check_days") == 1
    assert numbers.keys() == IDLE.keys()
    return {name: value for name, value in numbers.items() if value}


async def insert(owner: Owner, rows: int) -> None:
    await owner.execute("INSERT INTO parcels (id) SELECT generate_series(1, $1::int)", rows)


async def test_an_empty_queue_has_zeros(declare: Declare, start: Start, owner: Owner, exporter_dsn: str) -> None:
    await declare()
    exporter = start(PG_DSN=exporter_dsn)
    assert await nonzero(exporter) == {}
    numbers = await scrape(exporter)
    assert numbers.shared['scrape_ok{source="postgres"}'] == 1


async def test_rows_are_counted_by_state_and_outcome(
    declare: Declare, start: Start, owner: Owner, worker: ClaimQueue, exporter_dsn: str
) -> None:
    await declare()
    exporter = start(PG_DSN=exporter_dsn)
    await insert(owner, 10)
    assert await nonzero(exporter) == {"queue_claimable_rows": 10}

    batch = await worker.claim(6)
    assert batch
    running = await nonzero(exporter)
    assert 0 < running.pop("queue_heartbeat_age_seconds") < 3600
    assert running == {"queue_claimable_rows": 4, "queue_batches_running": 1}

    [first, second, third, *_] = batch.rows
    await worker.settle(
        batch,
        [CompletedRow(first, ("done",))],
        [Failure(second.key, "Invalid: no", None), Failure(third.key, "Later: busy", 3600)],
    )
    await worker.close(batch)
    settled = {
        "queue_claimable_rows": 7,
        "queue_waiting_rows": 1,
        "queue_rows_failed_permanently": 1,
        'queue_rows_total{outcome="completed"}': 1,
        'queue_rows_total{outcome="failed"}': 2,
        'queue_rows_total{outcome="returned"}': 3,
        'queue_batches_total{status="completed"}': 1,
    }
    assert await nonzero(exporter) == settled

    await owner.execute("UPDATE parcels SET batch_status = 'pending' WHERE id = $1", second.key)
    del settled["queue_rows_failed_permanently"]
    assert await nonzero(exporter) == {**settled, "queue_claimable_rows": 8}, "who resets it by hand is no matter"

    failed = FailedRows(owner, PARCELS)
    await failed.reset(await failed.find(RowFilter(), 10))
    assert await nonzero(exporter) == {
        **{name: value for name, value in settled.items() if "total" in name},
        "queue_claimable_rows": 9,
    }, "rows put back by hand do not reduce the totals of the workers"


async def test_a_batch_with_an_expired_lease_is_stale_until_it_is_recovered(
    declare: Declare, start: Start, owner: Owner, worker: ClaimQueue, exporter_dsn: str
) -> None:
    await declare()
    exporter = start(PG_DSN=exporter_dsn)
    await insert(owner, 3)
    await worker.claim(3)
    await owner.execute(
        "UPDATE keda_jobs.batch_jobs SET lease_expires_at = now(), heartbeat_at = now() - interval '90 s'"
    )
    stale = await nonzero(exporter)
    assert 90 <= stale.pop("queue_heartbeat_age_seconds") < 3600
    assert stale == {"queue_claimable_rows": 3, "queue_batches_running": 1, "queue_batches_stale": 1}

    await worker.recover()
    assert await nonzero(exporter) == {
        "queue_claimable_rows": 3,
        'queue_rows_total{outcome="returned"}': 3,
        'queue_batches_total{status="abandoned"}': 1,
    }


async def test_a_batch_that_ends_with_an_error_is_counted_as_failed(
    declare: Declare, start: Start, owner: Owner, worker: ClaimQueue, exporter_dsn: str
) -> None:
    await declare()
    await insert(owner, 1)
    batch = await worker.claim(1)
    assert batch
    await worker.close(batch, "the worker ends by a bug")
    numbers = await nonzero(start(PG_DSN=exporter_dsn))
    assert numbers['queue_batches_total{status="failed"}'] == 1


async def test_the_last_check_tells_how_many_rows_no_worker_gets(
    declare: Declare, start: Start, owner: Owner, exporter_dsn: str
) -> None:
    await declare()
    await insert(owner, 10)
    await owner.execute("DELETE FROM keda_jobs.parcels_queue")
    exporter = start(PG_DSN=exporter_dsn)
    for repair, stranded in ((False, 10), (True, 0)):
        steps = [step async for step in QueueCheck(owner, PARCELS, repair=repair).run(asyncio.Event())]
        assert steps[-1].rows_left == stranded
        numbers = (await scrape(exporter))[PARCELS.batch_name]
        assert numbers["queue_stranded_rows"] == stranded
        checked_at = await owner.fetchval("SELECT max(checked_at) FROM keda_jobs.parcels_queue_checks")
        assert numbers["queue_checked_timestamp_seconds"] == pytest.approx(checked_at.timestamp())


async def test_days_with_a_check_are_counted(declare: Declare, start: Start, owner: Owner, exporter_dsn: str) -> None:
    await declare()
    await owner.execute(
        "INSERT INTO keda_jobs.parcels_queue_checks (checked_at, stranded_rows)"
        " SELECT current_date - days + hours * interval '1 hour', 0"
        " FROM unnest(ARRAY[7, 14, 31]) AS days, unnest(ARRAY[0, 1]) AS hours"
    )
    numbers = (await scrape(start(PG_DSN=exporter_dsn)))[PARCELS.batch_name]
    assert numbers["queue_check_days"] == 3


async def test_rows_that_are_set_aside_for_good_are_counted(
    declare: Declare, start: Start, owner: Owner, exporter_dsn: str
) -> None:
    await declare()
    await insert(owner, 2)
    aside = "UPDATE keda_jobs.parcels_queue SET error = 'no', held_back_until = $2::text::timestamptz WHERE lo = $1"
    for key, until in ((3, "infinity"), (4, "2999-01-01")):
        await owner.execute("INSERT INTO parcels (id) VALUES ($1)", key)
        await owner.execute(aside, key, until)
    numbers = await nonzero(start(PG_DSN=exporter_dsn))
    assert numbers == {"queue_claimable_rows": 2, "queue_waiting_rows": 2, "queue_set_aside_rows": 1}


async def test_a_hold_is_shown_until_it_ends(
    declare: Declare, start: Start, owner: Owner, worker: ClaimQueue, exporter_dsn: str
) -> None:
    await declare()
    await insert(owner, 3)
    exporter = start(PG_DSN=exporter_dsn)
    await worker.hold(QueueHold(600, "PlatformError: quota used up"))
    held = await nonzero(exporter)
    assert 0 < held.pop("queue_hold_seconds") <= 600
    assert held == {}, "nothing is claimable"
    await owner.execute("UPDATE keda_jobs.parcels_queue_holds SET held_until = now()")
    assert await nonzero(exporter) == {"queue_claimable_rows": 3}


async def test_times_that_python_cannot_hold_do_not_end_a_scrape(
    declare: Declare, start: Start, owner: Owner, exporter_dsn: str
) -> None:
    await declare()
    for key, moment in enumerate(("-infinity", "4713-01-01 BC", "20204-01-01"), 1):
        await owner.execute(
            "INSERT INTO parcels (id, batch_status, next_attempt_at) VALUES ($1, 'failed', $2::text::timestamptz)",
            key,
            moment,
        )
    assert await nonzero(start(PG_DSN=exporter_dsn)) == {"queue_claimable_rows": 2, "queue_waiting_rows": 1}


async def test_a_database_without_a_queue_is_read_and_adds_no_job(
    declare: Declare, start: Start, postgres_server: PostgresServer, database: str
) -> None:
    await declare()
    numbers = await scrape(start(PG_DSN=postgres_server.dsn_of(database)))
    assert numbers.shared['scrape_ok{source="postgres"}'] == 1
    assert PARCELS.batch_name not in numbers.jobs
