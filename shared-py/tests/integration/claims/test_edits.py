"""Rows that an application changes while a worker holds them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from keda_jobs.claims import Batch, ClaimQueue, SettledRows

from .harness import QueueHarness, batch_keys, failures


async def claim_new(users: QueueHarness, number: int = 5) -> tuple[ClaimQueue, Batch]:
    await users.insert(range(1, number + 1))
    worker = await users.worker()
    batch = await worker.claim(number)
    assert batch is not None
    return worker, replace(batch, rows=sorted(batch.rows))


async def edit(users: QueueHarness, change: str, where: str) -> None:
    await users.owner.execute(f"UPDATE users SET {change} WHERE {where}")


async def settle_and_close(users: QueueHarness, worker: ClaimQueue, batch: Batch) -> SettledRows:
    settled = await worker.settle(batch, users.results(batch.rows), [])
    await worker.close(batch)
    return settled


async def test_a_row_whose_input_is_edited_is_worked_again_with_the_new_input(users: QueueHarness) -> None:
    worker, batch = await claim_new(users)
    await edit(users, "name = 'Grace'", "id = 3")
    assert await settle_and_close(users, worker, batch) == SettledRows(completed=4)
    assert await users.rows("batch_status, attempts, normalized_name", "id = 3") == [("pending", 0, None)]
    assert await users.claimable() == await users.recount() == 1
    again = await worker.claim(5)
    assert again is not None
    assert [(row.key, row.attempts, row.values[0]) for row in again.rows] == [(3, 0, "Grace")]
    assert await settle_and_close(users, worker, again) == SettledRows(completed=1)
    assert all(closed.adds_up for closed in await users.batches())


async def test_a_failure_on_an_edited_input_costs_the_row_no_attempt(users: QueueHarness) -> None:
    worker, batch = await claim_new(users)
    await edit(users, "email = 'grace@example.org'", "id = 3")
    assert await worker.settle(batch, [], failures(batch, None)) == SettledRows(failed=4, failed_permanently=4)
    await worker.close(batch)
    assert await users.rows("id, attempts, error", "batch_status = 'pending'") == [(3, 0, None)]


@pytest.mark.parametrize("change", ["country = 'DE'", "name = name", "created_at = now()"])
async def test_an_edit_of_other_columns_does_not_repeat_the_row(users: QueueHarness, change: str) -> None:
    worker, batch = await claim_new(users)
    await edit(users, change, "id IN (2, 3)")
    done, failed = users.results(batch.rows[:2]), failures(batch, 60, range(3, 6))
    assert await worker.settle(batch, done, failed) == SettledRows(completed=2, failed=3)
    assert [closed.status for closed in await users.batches()] == ["completed"]


async def test_an_input_that_is_null_can_be_edited_and_left_alone(users: QueueHarness) -> None:
    await users.owner.execute("INSERT INTO users (id, name) VALUES (1, NULL), (2, NULL)")
    worker = await users.worker()
    batch = await worker.claim(2)
    assert batch is not None
    await edit(users, "name = 'Ada'", "id = 1")
    await edit(users, "country = 'DE'", "id = 2")
    await settle_and_close(users, worker, batch)
    assert await users.rows("id, batch_status") == [(1, "pending"), (2, "completed")]


async def test_an_edit_that_python_takes_for_none_counts_and_nan_stays_the_same(own_users: QueueHarness) -> None:
    await own_users.owner.execute("""
ALTER TABLE users ADD COLUMN doc jsonb DEFAULT '{"n": 1}', ADD COLUMN ratio float8 DEFAULT 'NaN';
GRANT SELECT (doc, ratio) ON users TO users_worker""")
    await own_users.insert(range(1, 6))
    worker = await own_users.worker(table=replace(own_users.table, reads=("doc", "ratio")))
    batch = await worker.claim(5)
    assert batch is not None
    await edit(own_users, """doc = '{"n": true}'""", "id = 1")
    await edit(own_users, """doc = '{"n": 1.0}'""", "id = 2")
    await edit(own_users, "country = 'DE'", "id = 3")
    assert await settle_and_close(own_users, worker, batch) == SettledRows(completed=3)
    assert await own_users.keys("batch_status = 'pending'") == [1, 2]


async def test_an_edit_that_is_rolled_back_changes_nothing(users: QueueHarness) -> None:
    worker, batch = await claim_new(users)
    transaction = users.owner.transaction()
    await transaction.start()
    await edit(users, "name = 'Grace'", "id = 3")
    settling = asyncio.create_task(worker.settle(batch, users.results(batch.rows), []))
    await asyncio.sleep(0)
    await transaction.rollback()
    assert await settling == SettledRows(completed=5)


@pytest.mark.usefixtures("patient")
async def test_an_edit_that_commits_during_the_write_is_seen(users: QueueHarness) -> None:
    worker, batch = await claim_new(users)
    person = await users.connect()
    async with person.transaction():
        await person.execute("UPDATE users SET name = 'Grace' WHERE id = 3")
        settling = asyncio.create_task(worker.settle(batch, users.results(batch.rows), []))
        await users.until_blocked()
    assert await settling == SettledRows(completed=4)
    assert await worker.close(batch) == 1


async def test_a_lock_on_a_row_is_no_edit(users: QueueHarness) -> None:
    worker, batch = await claim_new(users)
    await users.owner.execute("SELECT FROM users FOR UPDATE")
    await users.owner.execute("VACUUM (FREEZE) users")
    assert await settle_and_close(users, worker, batch) == SettledRows(completed=5)


@pytest.mark.parametrize(
    ("change", "claimable"),
    [
        ("UPDATE users SET id = id + 1000 WHERE id > 3", 2),
        ("UPDATE users SET batch_id = NULL WHERE id > 3", 2),
        ("UPDATE users SET batch_id = batch_id + 1 WHERE id > 3", 2),
        ("UPDATE users SET batch_status = 'pending' WHERE id > 3", 2),
        ("UPDATE users SET batch_status = 'failed', next_attempt_at = 'infinity' WHERE id > 3", 0),
        ("UPDATE users SET batch_status = 'completed' WHERE id > 3", 0),
        ("DELETE FROM users WHERE id > 3", 0),
        ("DELETE FROM users WHERE id > 3; INSERT INTO users (id) VALUES (4), (5)", 2),
        ("TRUNCATE users; INSERT INTO users (id) VALUES (4), (5)", 2),
    ],
)
@pytest.mark.parametrize("ends_by", ["settle", "close", "recover"])
async def test_rows_that_leave_a_batch_are_queued_once_and_its_counts_add_up(
    users: QueueHarness, change: str, claimable: int, ends_by: str
) -> None:
    worker, batch = await claim_new(users)
    await users.owner.execute(change)
    assert await users.claimable() == await users.recount() == claimable
    if ends_by == "settle":
        await worker.settle(batch, users.results(batch.rows), [])
    if ends_by == "recover":
        await users.expire_leases()
        await worker.recover()
    else:
        await worker.close(batch)
    assert await users.claimable() == await users.recount()
    assert [closed.adds_up and closed.status != "running" for closed in await users.batches()] == [True]
    await users.drain(worker)
    assert (await users.statuses()).keys() <= {"completed", "failed"}


async def test_a_reset_that_is_undone_by_hand_is_worked_once_more_and_counted_once(users: QueueHarness) -> None:
    worker, batch = await claim_new(users)
    await edit(users, "batch_status = 'pending'", "id = 3")
    await edit(users, f"batch_status = 'processing', batch_id = {batch.batch_id}", "id = 3")
    assert await users.claimable() == await users.recount() == 1
    assert await settle_and_close(users, worker, batch) == SettledRows(completed=4)
    assert batch_keys(await worker.claim(5)) == [3]
    assert (await users.batches())[0].adds_up
