"""Batches that ended long ago are deleted, and their sums stay."""

from __future__ import annotations

from keda_jobs.claims.failed_rows import POD_NAME
from keda_jobs.status.queues import read_batches

from .harness import QueueHarness

_OLD, _YOUNG = "31 days", "29 days"


async def add_batches(queue: QueueHarness, number: int, age: str, status: str = "completed", pod: str = "pod") -> None:
    """Add batches that ended at that age, or that run since then."""
    await queue.owner.execute(
        "INSERT INTO keda_jobs.batch_jobs"
        " (batch_name, pod_name, status, claimed, completed, failed, given_up, returned, started_at, heartbeat_at,"
        "  lease_expires_at, finished_at)"
        " SELECT $1, $2, $3, 10, 4, 3, 1, 2, moment, moment, moment, CASE $3 WHEN 'running' THEN NULL ELSE moment END"
        " FROM (SELECT now() - $5::text::interval AS moment FROM generate_series(1, $4::int)) AS moments",
        queue.table.batch_name,
        pod,
        status,
        number,
        age,
    )


async def number_left(queue: QueueHarness, where: str = "true") -> int:
    return int(await queue.owner.fetchval(f"SELECT count(*) FROM keda_jobs.batch_jobs WHERE {where}"))


async def test_old_batches_are_deleted_a_thousand_at_once_and_no_other(users: QueueHarness) -> None:
    await add_batches(users, 2_100, _OLD)
    await add_batches(users, 10, _OLD, "running")
    await add_batches(users, 20, _YOUNG)
    worker = await users.worker()
    assert [await worker.sum_up_old_batches() for _ in range(4)] == [1000, 1000, 100, 0]
    assert await number_left(users, "status = 'running'") == 10
    assert await number_left(users) == 30


async def test_all_totals_stay_what_they_were(users: QueueHarness) -> None:
    for age in (_OLD, _YOUNG):
        for status in ("completed", "failed", "abandoned", "running"):
            await add_batches(users, 3, age, status)
        await add_batches(users, 2, age, pod=POD_NAME)
    # `batch retry` subtracts what it resets.
    await users.owner.execute(
        "UPDATE keda_jobs.batch_jobs SET completed = 0, failed = -7, given_up = -7, returned = 10 WHERE pod_name = $1",
        POD_NAME,
    )
    before = await read_batches(users.owner, users.table)
    worker = await users.worker()
    assert await worker.sum_up_old_batches() == 11
    assert await read_batches(users.owner, users.table) == before
    # Sums are added to sums.
    await users.owner.execute("UPDATE keda_jobs.batch_jobs SET finished_at = now() - $1::text::interval", _OLD)
    await users.owner.execute("UPDATE keda_jobs.batch_jobs SET finished_at = NULL WHERE status = 'running'")
    assert await worker.sum_up_old_batches() == 11
    assert await read_batches(users.owner, users.table) == before
    assert (before.batches_completed, before.given_up) == (6, 24 - 28)


async def test_batches_of_another_queue_are_its_own_business(own_users: QueueHarness) -> None:
    await own_users.owner.execute(
        "INSERT INTO keda_jobs.batch_queues (batch_name, table_name, key_name, schema_name, queue_name)"
        " VALUES ('other', 'others', 'id', 'public', 'others')"
    )
    await add_batches(own_users, 5, _OLD)
    await own_users.owner.execute(
        "UPDATE keda_jobs.batch_jobs SET batch_name = 'other' WHERE batch_id IN"
        " (SELECT batch_id FROM keda_jobs.batch_jobs LIMIT 2)"
    )
    worker = await own_users.worker()
    assert await worker.sum_up_old_batches() == 3
    assert await number_left(own_users, "batch_name = 'other'") == 2
