"""A change of many rows by hand reads each row and each range a few times, in a session that knows a small queue."""

from __future__ import annotations

import pytest

from .harness import QueueHarness, failures

_ROWS = 4000

_TUPLES_READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables
WHERE relname IN ('users', 'users_queue', 'users_queue_changes', 'batch_jobs')"""


async def warm_up(queue: QueueHarness) -> None:
    """Run the trigger on a small queue until its statements have their lasting plans."""
    await queue.insert(range(1, 4))
    for change in (
        "next_attempt_at = next_attempt_at + '1 day'",
        "batch_status = 'completed'",
        "batch_status = 'pending'",
    ):
        for _ in range(8):
            await queue.owner.execute(f"UPDATE users SET {change}")
    for _ in range(8):
        await queue.owner.execute("DELETE FROM users")
        await queue.insert(range(1, 4))
    await queue.owner.execute("DELETE FROM users")


async def scatter(queue: QueueHarness) -> None:
    """Fill the queue with a range for each row, and half as many for rows that failed."""
    await queue.insert(range(1, 2 * _ROWS, 2))
    worker = await queue.worker()
    batch = await worker.claim(_ROWS // 2)
    assert batch is not None
    await worker.settle(batch, [], failures(batch, 600))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET next_attempt_at = next_attempt_at + '1 day'",
        "UPDATE users SET batch_status = 'pending', next_attempt_at = now()",
        "UPDATE users SET batch_status = 'completed'",
        "UPDATE users SET batch_status = 'processing', batch_id = NULL",
        "UPDATE users SET id = -id",
        "DELETE FROM users",
        "MERGE INTO users USING generate_series(1, 9999) AS n ON id = n WHEN MATCHED THEN DELETE",
    ],
)
async def test_a_change_reads_each_row_and_range_a_few_times(own_users: QueueHarness, change: str) -> None:
    for table in ("users", "keda_jobs.users_queue", "keda_jobs.users_queue_changes", "keda_jobs.batch_jobs"):
        await own_users.owner.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    await warm_up(own_users)
    await scatter(own_users)
    async with own_users.owner.transaction():
        before = await own_users.owner.fetchval(_TUPLES_READ)
        await own_users.owner.execute(change)
        read = await own_users.owner.fetchval(_TUPLES_READ) - before
    assert read < 30 * _ROWS
    assert await own_users.claimable() == await own_users.recount()


async def test_rows_without_a_range_are_not_looked_for_in_all_ranges(own_users: QueueHarness) -> None:
    await own_users.owner.execute("ALTER TABLE keda_jobs.users_queue SET (autovacuum_enabled = off)")
    await warm_up(own_users)
    await own_users.insert(range(1, 2 * _ROWS, 2))
    await own_users.owner.execute("DELETE FROM keda_jobs.users_queue WHERE lo > 4000")
    async with own_users.owner.transaction():
        before = await own_users.owner.fetchval(_TUPLES_READ)
        await own_users.owner.execute("UPDATE users SET next_attempt_at = next_attempt_at + '1 day' WHERE id > 4000")
        read = await own_users.owner.fetchval(_TUPLES_READ) - before
    assert read < 30 * _ROWS
