"""Writes of a batch: by its owner only, and once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from keda_jobs.claims import Batch, ClaimQueue, Failure, LeaseLost, SettledRows
from keda_jobs.claims.rows import ClaimedRow, CompletedRow
from stack import until

from .harness import QueueHarness, batch_keys, failures


async def claim_new(queue: QueueHarness, number: int = 10) -> tuple[ClaimQueue, Batch]:
    await queue.insert(range(1, number + 1))
    worker = await queue.worker()
    batch = await worker.claim(number)
    assert batch is not None
    return worker, replace(batch, rows=sorted(batch.rows))


async def test_results_are_written_and_the_row_is_completed(invoices: QueueHarness) -> None:
    worker, batch = await claim_new(invoices, 2)
    full = (3, "overdue since May", "paid", '{"a": [1, null]}', Decimal("7.125"), None)
    settled = await worker.settle(
        batch, [CompletedRow(batch.rows[0], full), invoices.example.completed(batch.rows[1])], []
    )
    assert settled == SettledRows(completed=2)
    columns = 'batch_status, attempts, error, batch_id, reminders, note, state::text, details::text, total, "end"'
    first, second = await invoices.rows(columns)
    assert first[:4] == second[:4] == ("completed", 1, None, batch.batch_id)
    assert first[4:] == (3, "overdue since May", "paid", '{"a": [1, null]}', Decimal("7.13"), None)
    assert second[4:] == (1, "note 2", "overdue", '{"no": 2}', Decimal("12.50"), None)


async def test_a_result_may_be_all_null(users: QueueHarness) -> None:
    worker, batch = await claim_new(users, 3)
    await worker.settle(batch, [CompletedRow(row, (None,) * 4) for row in batch.rows], [])
    assert await users.rows("normalized_name, country", "batch_status = 'completed'") == [(None, None)] * 3


async def test_a_job_that_writes_no_column_completes_its_rows(users: QueueHarness) -> None:
    await users.insert([1, 2])
    table = type(users.table)(users.table.batch_name, "users", "id", ("name",))
    worker = await users.worker(table=table)
    batch = await worker.claim(10)
    assert batch is not None
    assert await worker.settle(batch, [CompletedRow(row, ()) for row in batch.rows], []) == SettledRows(completed=2)


async def test_a_failed_row_keeps_its_error_and_waits_for_its_time(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 4)
    given = [Failure(1, "too early", 60.0), Failure(2, "too early", 60.0), Failure(3, "no such customer", None)]
    assert await worker.settle(batch, [], given) == SettledRows(failed=3, failed_permanently=1)
    await worker.close(batch)
    waits = "round(extract(epoch FROM nullif(next_attempt_at, 'infinity') - now()) / 60)::integer"
    found = await queue.rows(f"batch_status, attempts, error, {waits}")
    assert found == [
        ("failed", 1, "too early", 1),
        ("failed", 1, "too early", 1),
        ("failed", 1, "no such customer", None),
        ("pending", 0, None, 0),
    ]
    assert await queue.claimable() == await queue.recount() == 1
    assert (await queue.batches())[0].adds_up


async def test_a_failed_row_is_claimable_again_when_due_and_completes_without_its_error(
    queue: QueueHarness,
) -> None:
    worker, batch = await claim_new(queue, 4)
    await worker.settle(batch, queue.results(batch.rows[:2]), failures(batch, 60, [3, 4]))
    await worker.close(batch)
    assert await worker.claim(10) is None
    await queue.make_due()
    assert await queue.claimable() == await queue.recount() == 2
    again = await worker.claim(10)
    assert again is not None
    assert [(row.key, row.attempts) for row in sorted(again.rows)] == [(3, 1), (4, 1)]
    await queue.settle_all(worker, again)
    assert await queue.rows("batch_status, attempts, error") == [
        ("completed", 1 + (key > 2), None) for key in range(1, 5)
    ]


async def test_a_row_that_failed_permanently_is_never_claimed_or_counted_again(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 3)
    await worker.settle(batch, [], failures(batch, None))
    await worker.close(batch)
    await queue.make_due()
    assert await worker.claim(10) is None
    assert await queue.claimable() == await queue.recount() == 0
    assert await queue.ranges() == []


async def test_the_same_rows_settled_twice_are_written_and_counted_once(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue)
    done, failed = queue.results(batch.rows[:5]), failures(batch, 60, range(6, 9))
    assert await worker.settle(batch, done, failed) == SettledRows(completed=5, failed=3)
    before = await queue.rows("*")
    assert await worker.settle(batch, done, failed) == SettledRows()
    assert await queue.rows("*") == before
    assert sum(claimable for _, _, claimable in await queue.ranges()) == 3
    assert await worker.close(batch) == 2
    [closed] = await queue.batches()
    assert (closed.completed, closed.failed, closed.returned) == (5, 3, 2)


async def test_rows_of_another_batch_are_not_touched(queue: QueueHarness) -> None:
    await queue.insert(range(1, 5))
    worker = await queue.worker()
    mine, others = await worker.claim(2), await worker.claim(2)
    assert mine is not None
    assert others is not None
    assert await worker.settle(mine, queue.results(others.rows), []) == SettledRows()
    assert await queue.statuses() == {"processing": 4}


async def test_rows_deleted_meanwhile_are_not_counted(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 3)
    await queue.owner.execute(f"DELETE FROM {queue.table.name} WHERE {queue.table.key} = 2")
    assert await worker.settle(batch, queue.results(batch.rows), []) == SettledRows(completed=2)


async def test_nothing_is_written_after_the_lease_expired(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue)
    await queue.expire_leases()
    before = await queue.rows("*")
    with pytest.raises(LeaseLost, match=f"batch {batch.batch_id}: the lease of 60 s expired"):
        await worker.settle(batch, queue.results(batch.rows), [])
    with pytest.raises(LeaseLost):
        await worker.renew(batch)
    with pytest.raises(LeaseLost):
        await worker.close(batch)
    assert await queue.rows("*") == before
    assert await queue.claimable() == await queue.recount() == 10


async def test_nothing_is_written_after_another_worker_recovered_the_batch(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue)
    await worker.settle(batch, [queue.example.completed(batch.rows[0])], [])
    await queue.expire_leases()
    other = await queue.worker("pod-2")
    assert await other.recover() == 9
    taken = await other.claim(1)
    with pytest.raises(LeaseLost):
        await worker.settle(batch, queue.results(batch.rows), failures(batch, None))
    with pytest.raises(LeaseLost):
        await worker.close(batch)
    assert batch_keys(taken) == [2]
    assert await queue.statuses() == {"completed": 1, "processing": 1, "pending": 8}


async def test_renewing_extends_the_lease(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue)
    await queue.owner.execute(
        "UPDATE keda_jobs.batch_jobs SET lease_expires_at = now() + '1 second', heartbeat_at = '2020-01-01'"
    )
    await worker.renew(batch)
    [lease] = await queue.owner.fetch(
        "SELECT lease_expires_at - heartbeat_at, heartbeat_at > now() - interval '1 minute' FROM batch_jobs"
    )
    assert (lease[0].total_seconds(), lease[1]) == (pytest.approx(60, abs=1), True)


async def test_settling_renews_the_lease(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue)
    await queue.owner.execute("UPDATE keda_jobs.batch_jobs SET lease_expires_at = clock_timestamp() + '5 seconds'")
    await worker.settle(batch, [queue.example.completed(batch.rows[0])], [])
    assert await queue.owner.fetchval("SELECT lease_expires_at > now() + '50 seconds' FROM batch_jobs")


@pytest.mark.usefixtures("patient")
async def test_parts_of_a_batch_are_settled_concurrently(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 20)
    person = await queue.connect()
    async with person.transaction():
        await person.execute(f"SELECT FROM {queue.table.name} WHERE {queue.table.key} = 1 FOR UPDATE")
        stuck = asyncio.create_task(worker.settle(batch, queue.results(batch.rows[:10]), []))
        await queue.until_blocked()
        second = await worker.settle(batch, queue.results(batch.rows[10:]), [])
        await worker.renew(batch)
        assert second == SettledRows(completed=10)
        assert not stuck.done()
    assert await stuck == SettledRows(completed=10)
    assert await worker.close(batch) == 0


@pytest.mark.usefixtures("patient")
async def test_a_batch_is_not_recovered_during_a_write_even_when_its_lease_expires(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue)
    other, person = await queue.worker("pod-2"), await queue.connect()
    async with person.transaction():
        await person.execute(f"SELECT FROM {queue.table.name} WHERE {queue.table.key} = 1 FOR UPDATE")
        writing = asyncio.create_task(worker.settle(batch, queue.results(batch.rows), []))
        await queue.until_blocked()
        await queue.expire_leases()
        assert await other.recover() is None
    assert await writing == SettledRows(completed=10)
    assert await other.recover() is None
    assert await worker.close(batch) == 0


_LONG_BLOCKED = """
SELECT count(*) = 2 FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database() AND clock_timestamp() - query_start > '400 ms'"""


async def test_a_write_waits_for_a_recovery_and_then_writes_nothing(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue)
    taking = await queue.connect()
    async with taking.transaction():
        await taking.execute("SELECT FROM keda_jobs.batch_jobs FOR UPDATE")
        writing = asyncio.create_task(worker.settle(batch, queue.results(batch.rows), []))
        beating = asyncio.create_task(worker.renew(batch))
        # Longer than either waits for a row.
        await until(lambda: queue.owner.fetchval(_LONG_BLOCKED))
        await taking.execute("UPDATE keda_jobs.batch_jobs SET status = 'abandoned'")
    results = await asyncio.gather(writing, beating, return_exceptions=True)
    assert [type(result) for result in results] == [LeaseLost, LeaseLost]
    assert await queue.statuses() == {"processing": 10}


@pytest.mark.usefixtures("patient")
async def test_concurrent_settling_renewing_closing_and_recovering_never_deadlock(users: QueueHarness) -> None:
    await users.insert(range(1, 401))
    worker = await users.worker(connections=6)
    recovering = await users.worker("pod-2", connections=2)

    async def work(batch: Batch) -> None:
        slices = [batch.rows[start : start + 10] for start in range(0, len(batch.rows), 10)]
        writes = [worker.settle(batch, users.results(part), []) for part in slices]
        ended = await asyncio.gather(*writes, worker.renew(batch), worker.close(batch), return_exceptions=True)
        assert [error for error in ended if isinstance(error, Exception) and not isinstance(error, LeaseLost)] == []

    async def expire_and_recover() -> None:
        while True:
            await users.expire_leases()
            await recovering.recover()

    beside = asyncio.create_task(expire_and_recover())
    for _ in range(30):
        if (batch := await worker.claim(40)) is not None:
            await work(batch)
    beside.cancel()
    await asyncio.gather(beside, return_exceptions=True)
    await users.expire_leases()
    while await recovering.recover() is not None:
        pass
    await users.make_due()
    await users.drain(worker)
    assert await users.statuses() == {"completed": 400}
    assert all(batch.adds_up for batch in await users.batches())
    assert sum(batch.completed for batch in await users.batches()) == 400


@pytest.mark.usefixtures("patient")
async def test_a_worker_continues_after_its_connection_is_cut(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue)
    person = await queue.connect()
    async with person.transaction():
        await person.execute(f"SELECT FROM {queue.table.name} WHERE {queue.table.key} = 1 FOR UPDATE")
        writing = asyncio.create_task(worker.settle(batch, queue.results(batch.rows), []))
        [pid] = await queue.until_blocked()
        await queue.owner.execute("SELECT pg_terminate_backend($1)", pid)
        [error] = await asyncio.gather(writing, return_exceptions=True)
    assert type(error).__name__ == "DatabaseUnavailable"
    assert await worker.settle(batch, queue.results(batch.rows), []) == SettledRows(completed=10)


async def test_a_job_may_read_no_column(users: QueueHarness) -> None:
    await users.insert([1])
    worker = await users.worker(table=type(users.table)(users.table.batch_name, "users"))
    batch = await worker.claim(1)
    assert batch is not None
    assert batch.rows == [ClaimedRow(1, 0, ())]
