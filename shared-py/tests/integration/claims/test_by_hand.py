"""Rows in any state that somebody changes by hand: no row is lost, and the count stays right."""

from __future__ import annotations

import pytest

from keda_jobs.claims.roles import EXPORTER
from keda_jobs.status.queues import read_batches, read_failed_permanently

from .harness import QueueHarness, batch_keys, failures


async def update(queue: QueueHarness, change: str, where: str = "true") -> None:
    await queue.owner.execute(f"UPDATE {queue.table.name} SET {change} WHERE {where}")


async def test_a_completed_row_that_is_reset_starts_again(queue: QueueHarness) -> None:
    await queue.insert(range(1, 6))
    worker = await queue.worker()
    await queue.drain(worker)
    await update(queue, "batch_status = 'pending'", f"{queue.table.key} IN (2, 4)")
    assert await queue.claimable() == await queue.recount() == 2
    assert await queue.rows("attempts", "batch_status = 'pending'") == [(0,), (0,)]
    assert await queue.drain(worker) == 2


async def test_a_row_that_failed_permanently_starts_again_at_once_when_reset(queue: QueueHarness) -> None:
    await queue.insert([1, 2])
    worker = await queue.worker()
    batch = await worker.claim(10)
    assert batch is not None
    await worker.settle(batch, [], failures(batch, None))
    await worker.close(batch)
    await update(queue, "batch_status = 'pending'", f"{queue.table.key} = 2")
    assert await queue.claimable() == await queue.recount() == 1
    again = await worker.claim(10)
    assert batch_keys(again) == [2]
    assert again is not None
    assert again.rows[0].attempts == 0


async def test_rows_that_failed_permanently_are_counted_as_they_are_now(own_users: QueueHarness) -> None:
    await own_users.insert(range(1, 6))
    worker, exporter = await own_users.worker(), await own_users.connect(EXPORTER)
    batch = await worker.claim(4)
    assert batch is not None
    await worker.settle(batch, [], [*failures(batch, None, [1, 2, 3]), *failures(batch, 60, [4])])

    async def count() -> int:
        return await read_failed_permanently(exporter, own_users.table, await read_batches(exporter, own_users.table))

    assert await count() == 3
    for change, number in (
        ("UPDATE users SET batch_status = 'pending' WHERE id = 1", 2),
        ("DELETE FROM users WHERE id = 2", 1),
        ("UPDATE users SET batch_status = 'failed', next_attempt_at = 'infinity' WHERE id > 4", 2),
        ("UPDATE users SET batch_status = 'completed' WHERE id = 3", 1),
    ):
        await own_users.owner.execute(change)
        assert await count() == number, change
    await own_users.owner.execute("DROP INDEX users_queue_failed")
    assert await count() == 3, "the records of batches know of no such changes"


async def test_a_reset_keeps_the_time_that_the_statement_sets(queue: QueueHarness) -> None:
    await queue.insert([1, 2])
    worker = await queue.worker()
    await queue.drain(worker)
    await update(queue, "batch_status = 'pending', next_attempt_at = now() + '1 hour'", f"{queue.table.key} = 1")
    await update(queue, "batch_status = 'pending', next_attempt_at = '2020-01-01'", f"{queue.table.key} = 2")
    assert await queue.claimable() == await queue.recount() == 1
    assert batch_keys(await worker.claim(10)) == [2]


async def failed_rows(queue: QueueHarness) -> None:
    await queue.insert(range(1, 6))
    worker = await queue.worker()
    batch = await worker.claim(10)
    assert batch is not None
    await worker.settle(batch, [], failures(batch, 600))
    await worker.close(batch)


async def test_a_waiting_row_is_retried_now_when_its_status_and_time_are_reset(queue: QueueHarness) -> None:
    await failed_rows(queue)
    await update(queue, "batch_status = 'pending', next_attempt_at = now()", f"{queue.table.key} <= 2")
    assert await queue.claimable() == await queue.recount() == 2
    worker = await queue.worker()
    again = await worker.claim(10)
    assert batch_keys(again) == [1, 2]
    assert again is not None
    assert again.rows[0].attempts == 1
    await queue.make_due()
    assert await queue.claimable() == 3
    assert await queue.recount() == 3


async def test_waiting_rows_are_retried_now_when_their_time_is_set_to_now(queue: QueueHarness) -> None:
    await failed_rows(queue)
    await update(queue, "next_attempt_at = now()", "batch_status = 'failed'")
    assert await queue.claimable() == await queue.recount() == 5
    assert await queue.ranges() == [(1, 5, 5)]
    assert await queue.drain(await queue.worker()) == 5


async def test_a_waiting_row_that_is_failed_permanently_by_hand_is_not_counted(queue: QueueHarness) -> None:
    await queue.insert(range(1, 6))
    await update(queue, "batch_status = 'failed', next_attempt_at = 'infinity'", f"{queue.table.key} = 3")
    assert await queue.claimable() == await queue.recount() == 4
    await update(queue, "batch_status = 'failed', next_attempt_at = 'infinity'")
    assert await queue.claimable() == await queue.recount() == 0
    assert await queue.ranges() == []


async def test_a_claimed_row_that_is_reset_leaves_its_batch_whose_counts_still_add_up(queue: QueueHarness) -> None:
    await queue.insert(range(1, 6))
    worker = await queue.worker()
    batch = await worker.claim(10)
    assert batch is not None
    await update(queue, "batch_status = 'pending'", f"{queue.table.key} IN (1, 5)")
    assert await queue.claimable() == await queue.recount() == 2
    settled = await worker.settle(batch, queue.results(batch.rows[:2]), [])
    assert settled.completed == sum(row.key != 1 for row in batch.rows[:2])
    await worker.close(batch)
    assert await queue.claimable() == await queue.recount()
    [closed] = await queue.batches()
    assert (closed.status, closed.adds_up) == ("completed", True)
    await queue.drain(worker)
    assert await queue.statuses() == {"completed": 5}


async def test_resetting_a_row_during_a_claim_of_its_range_does_not_deadlock(queue: QueueHarness) -> None:
    await failed_rows(queue)
    await queue.make_due()
    worker, person = await queue.worker(), await queue.connect()
    name, where = queue.table.name, f"{queue.table.key} = 3"
    async with person.transaction():
        await person.execute(f"UPDATE {name} SET next_attempt_at = next_attempt_at WHERE {where}")
        assert batch_keys(await worker.claim(10)) == [1, 2, 4, 5]
        await person.execute(f"UPDATE {name} SET batch_status = 'pending', next_attempt_at = now() WHERE {where}")
    assert await queue.claimable() == await queue.recount() == 1
    assert batch_keys(await worker.claim(10)) == [3]


async def test_a_waiting_row_can_get_another_key(users: QueueHarness) -> None:
    await users.insert([1, 2, 3])
    await update(users, "id = 77", "id = 2")
    assert await users.claimable() == await users.recount() == 3
    assert await users.drain(await users.worker()) == 3


async def test_an_application_without_rights_on_the_queue_can_reset_a_row(users: QueueHarness) -> None:
    await users.insert([1, 2])
    await users.drain(await users.worker())
    role = f"application_{await users.owner.fetchval('SELECT current_database()')}"
    await users.owner.execute(
        f"CREATE ROLE {role}; GRANT SELECT (id), UPDATE (batch_status) ON users TO {role}; SET ROLE {role};"
        f"UPDATE users SET batch_status = 'pending' WHERE id = 2; RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"
    )
    assert await users.claimable() == await users.recount() == 1


async def test_thousands_of_rows_reset_by_one_statement_are_a_few_ranges(users: QueueHarness) -> None:
    await users.insert(range(1, 5001))
    worker = await users.worker()
    batch = await worker.claim(5000)
    assert batch is not None
    done = [users.example.completed(row) for row in batch.rows if row.key <= 2000]
    await worker.settle(batch, done, failures(batch, 600, range(4001, 5001)))
    await update(users, "batch_status = 'pending'", "id % 7 > 0 AND id <= 4000")
    await update(users, "batch_status = 'pending', next_attempt_at = now()", "id > 4000")
    assert await users.claimable() == await users.recount() == 4000 - 4000 // 7 + 1000
    assert await users.ranges() == [(1, 4000, 4000 - 4000 // 7), (4001, 5000, 1000)]
    assert await worker.close(batch) == 2000 // 7 + 1
    assert (await users.batches())[0].adds_up


async def test_rows_changed_repeatedly_in_one_transaction_are_queued_in_their_last_state(queue: QueueHarness) -> None:
    await queue.insert(range(1, 6))
    worker = await queue.worker()
    await queue.drain(worker)
    async with queue.owner.transaction():
        await update(queue, "batch_status = 'pending'")
        await update(queue, "batch_status = 'failed', next_attempt_at = 'infinity'", f"{queue.table.key} < 3")
        await update(queue, "next_attempt_at = '2020-01-01'", f"{queue.table.key} = 4")
    assert await queue.claimable() == await queue.recount() == 3
    assert batch_keys(await worker.claim(10)) == [3, 4, 5]


async def test_a_manual_change_that_is_rolled_back_changes_nothing(queue: QueueHarness) -> None:
    await queue.insert(range(1, 6))
    worker = await queue.worker()
    await queue.drain(worker)
    transaction = queue.owner.transaction()
    await transaction.start()
    await update(queue, "batch_status = 'pending'")
    await transaction.rollback()
    await update(queue, "batch_status = 'pending'", f"{queue.table.key} = 2")
    assert await queue.claimable() == await queue.recount() == 1


async def test_a_deleted_row_is_no_longer_counted(queue: QueueHarness) -> None:
    await queue.insert(range(1, 6))
    await queue.owner.execute(f"DELETE FROM {queue.table.name} WHERE {queue.table.key} IN (2, 3)")
    assert await queue.claimable() == await queue.recount() == 3
    worker = await queue.worker()
    batch = await worker.claim(10)
    assert batch is not None
    assert await worker.close(batch) == 3
    assert await queue.claimable() == await queue.recount() == 3


async def test_a_row_that_is_marked_as_done_by_hand_is_no_longer_counted(queue: QueueHarness) -> None:
    await queue.insert(range(1, 6))
    await update(queue, "batch_status = 'completed'", f"{queue.table.key} <= 2")
    assert await queue.claimable() == await queue.recount() == 3
    await update(queue, "batch_status = 'completed'")
    assert await queue.ranges() == []


@pytest.mark.parametrize("change", ["batch_status = 'processing'", "batch_status = 'processing', batch_id = NULL"])
async def test_a_row_that_is_marked_as_claimed_by_hand_waits(queue: QueueHarness, change: str) -> None:
    await queue.insert(range(1, 6))
    worker = await queue.worker()
    batch = await worker.claim(2)
    assert batch is not None
    await worker.settle(batch, queue.results(batch.rows), [])
    await update(queue, change)
    assert await queue.claimable() == await queue.recount() == 5
    assert await queue.drain(worker) == 5


async def test_rows_that_are_inserted_as_claimed_wait(queue: QueueHarness) -> None:
    await queue.insert([1])
    batch = await (await queue.worker()).claim(1)
    assert batch is not None
    await queue.insert([2, 3])
    await update(queue, "batch_status = 'completed'", f"{queue.table.key} > 1")
    copied = await queue.rows(f"{queue.table.key}, {queue.example.columns}", f"{queue.table.key} > 1")
    await queue.owner.execute(f"DELETE FROM {queue.table.name} WHERE {queue.table.key} > 1")
    await queue.owner.copy_records_to_table(
        queue.table.name,
        records=[(*row, "processing", batch.batch_id) for row in copied],
        columns=[queue.table.key, *queue.example.columns.split(", "), "batch_status", "batch_id"],
    )
    assert await queue.claimable() == await queue.recount() == 2
    await queue.expire_leases()
    assert await queue.claimable() == await queue.recount() == 3
