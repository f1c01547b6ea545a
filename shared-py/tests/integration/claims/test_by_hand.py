"""Rows that somebody changes by hand, in whatever state they are: no row is lost, and the count stays right."""

from __future__ import annotations

import asyncio

import pytest

from .rig import Rig, failures, keys_of


async def by_hand(rig: Rig, change: str, where: str = "true") -> None:
    await rig.owner.execute(f"UPDATE {rig.table.name} SET {change} WHERE {where}")


async def test_a_completed_row_that_is_set_back_starts_anew(rig: Rig) -> None:
    await rig.insert(range(1, 6))
    worker = await rig.worker()
    await rig.drain(worker)
    await by_hand(rig, "batch_status = 'pending'", f"{rig.table.key} IN (2, 4)")
    assert await rig.claimable() == await rig.counted() == 2
    assert await rig.rows("attempts", "batch_status = 'pending'") == [(0,), (0,)]
    assert await rig.drain(worker) == 2


async def test_a_row_that_was_given_up_starts_anew_at_once(rig: Rig) -> None:
    await rig.insert([1, 2])
    worker = await rig.worker()
    batch = await worker.claim(10)
    assert batch is not None
    await worker.settle(batch, [], failures(batch, None))
    await worker.close(batch)
    await by_hand(rig, "batch_status = 'pending'", f"{rig.table.key} = 2")
    assert await rig.claimable() == await rig.counted() == 1
    again = await worker.claim(10)
    assert keys_of(again) == [2]
    assert again is not None
    assert again.rows[0].attempts == 0


async def test_the_time_that_the_statement_gives_is_kept(rig: Rig) -> None:
    await rig.insert([1, 2])
    worker = await rig.worker()
    await rig.drain(worker)
    await by_hand(rig, "batch_status = 'pending', next_attempt_at = now() + '1 hour'", f"{rig.table.key} = 1")
    await by_hand(rig, "batch_status = 'pending', next_attempt_at = '2020-01-01'", f"{rig.table.key} = 2")
    assert await rig.claimable() == await rig.counted() == 1
    assert keys_of(await worker.claim(10)) == [2]


async def failed_rows(rig: Rig) -> None:
    await rig.insert(range(1, 6))
    worker = await rig.worker()
    batch = await worker.claim(10)
    assert batch is not None
    await worker.settle(batch, [], failures(batch, 600))
    await worker.close(batch)


async def test_a_row_that_waits_for_its_retry_is_tried_now_when_its_status_and_time_are_set_back(rig: Rig) -> None:
    await failed_rows(rig)
    await by_hand(rig, "batch_status = 'pending', next_attempt_at = now()", f"{rig.table.key} <= 2")
    assert await rig.claimable() == await rig.counted() == 2
    worker = await rig.worker()
    again = await worker.claim(10)
    assert keys_of(again) == [1, 2]
    assert again is not None
    assert again.rows[0].attempts == 1
    await rig.make_due()
    assert await rig.claimable() == 3
    assert await rig.counted() == 3


async def test_all_waiting_rows_are_tried_now_when_their_time_is_set_to_now(rig: Rig) -> None:
    await failed_rows(rig)
    await by_hand(rig, "next_attempt_at = now()", "batch_status = 'failed'")
    assert await rig.claimable() == await rig.counted() == 5
    assert await rig.ranges() == [(1, 5, 5)]
    assert await rig.drain(await rig.worker()) == 5


async def test_a_waiting_row_that_is_given_up_by_hand_is_not_counted(rig: Rig) -> None:
    await rig.insert(range(1, 6))
    await by_hand(rig, "batch_status = 'failed', next_attempt_at = 'infinity'", f"{rig.table.key} = 3")
    assert await rig.claimable() == await rig.counted() == 4
    await by_hand(rig, "batch_status = 'failed', next_attempt_at = 'infinity'")
    assert await rig.claimable() == await rig.counted() == 0
    assert await rig.ranges() == []


async def test_a_row_in_work_that_is_set_back_is_nobodys_and_its_batch_still_adds_up(rig: Rig) -> None:
    await rig.insert(range(1, 6))
    worker = await rig.worker()
    batch = await worker.claim(10)
    assert batch is not None
    await by_hand(rig, "batch_status = 'pending'", f"{rig.table.key} IN (1, 5)")
    assert await rig.claimable() == await rig.counted() == 2
    settled = await worker.settle(batch, [rig.subject.done(row) for row in batch.rows[:2]], [])
    assert settled.completed == sum(row.key != 1 for row in batch.rows[:2])
    await worker.close(batch)
    assert await rig.claimable() == await rig.counted()
    [closed] = await rig.batches()
    assert (closed.status, closed.adds_up) == ("completed", True)
    await rig.drain(worker)
    assert await rig.statuses() == {"completed": 5}


async def test_a_row_whose_range_is_being_claimed_can_be_set_back_without_a_deadlock(rig: Rig) -> None:
    await failed_rows(rig)
    await rig.make_due()
    worker, person = await rig.worker(), await rig.connect()
    async with person.transaction():
        await person.execute(f"UPDATE {rig.table.name} SET next_attempt_at = next_attempt_at WHERE {rig.table.key} = 3")
        claim = asyncio.create_task(worker.claim(10))
        await rig.until_blocked()
        await person.execute(
            f"UPDATE {rig.table.name} SET batch_status = 'pending', next_attempt_at = now() WHERE {rig.table.key} = 3"
        )
    assert keys_of(await claim) == [1, 2, 4, 5]
    assert await rig.claimable() == await rig.counted() == 1
    assert keys_of(await worker.claim(10)) == [3]


async def test_a_waiting_row_can_get_another_key(users: Rig) -> None:
    await users.insert([1, 2, 3])
    await by_hand(users, "id = 77", "id = 2")
    assert await users.claimable() == await users.counted() == 3
    assert await users.drain(await users.worker()) == 3


async def test_an_application_without_rights_on_the_queue_can_set_a_row_back(users: Rig) -> None:
    await users.insert([1, 2])
    await users.drain(await users.worker())
    role = f"application_{await users.owner.fetchval('SELECT current_database()')}"
    await users.owner.execute(
        f"CREATE ROLE {role}; GRANT SELECT (id), UPDATE (batch_status) ON users TO {role}; SET ROLE {role};"
        f"UPDATE users SET batch_status = 'pending' WHERE id = 2; RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"
    )
    assert await users.claimable() == await users.counted() == 1


async def test_thousands_of_rows_set_back_by_one_statement_are_a_few_ranges(users: Rig) -> None:
    await users.insert(range(1, 5001))
    worker = await users.worker()
    batch = await worker.claim(5000)
    assert batch is not None
    done = [users.subject.done(row) for row in batch.rows if row.key <= 2000]
    await worker.settle(batch, done, failures(batch, 600, range(4001, 5001)))
    await by_hand(users, "batch_status = 'pending'", "id % 7 > 0 AND id <= 4000")
    await by_hand(users, "batch_status = 'pending', next_attempt_at = now()", "id > 4000")
    assert await users.claimable() == await users.counted() == 4000 - 4000 // 7 + 1000
    assert await users.ranges() == [(1, 4000, 4000 - 4000 // 7), (4001, 5000, 1000)]
    assert await worker.close(batch) == 2000 // 7 + 1
    assert (await users.batches())[0].adds_up


async def test_rows_set_back_and_forth_in_one_transaction_are_queued_as_they_end(rig: Rig) -> None:
    await rig.insert(range(1, 6))
    worker = await rig.worker()
    await rig.drain(worker)
    async with rig.owner.transaction():
        await by_hand(rig, "batch_status = 'pending'")
        await by_hand(rig, "batch_status = 'failed', next_attempt_at = 'infinity'", f"{rig.table.key} < 3")
        await by_hand(rig, "next_attempt_at = '2020-01-01'", f"{rig.table.key} = 4")
    assert await rig.claimable() == await rig.counted() == 3
    assert keys_of(await worker.claim(10)) == [3, 4, 5]


async def test_a_change_by_hand_that_is_rolled_back_changes_nothing(rig: Rig) -> None:
    await rig.insert(range(1, 6))
    worker = await rig.worker()
    await rig.drain(worker)
    transaction = rig.owner.transaction()
    await transaction.start()
    await by_hand(rig, "batch_status = 'pending'")
    await transaction.rollback()
    await by_hand(rig, "batch_status = 'pending'", f"{rig.table.key} = 2")
    assert await rig.claimable() == await rig.counted() == 1


async def test_a_deleted_row_is_counted_until_the_next_claim_at_the_latest(rig: Rig) -> None:
    await rig.insert(range(1, 6))
    await rig.owner.execute(f"DELETE FROM {rig.table.name} WHERE {rig.table.key} IN (2, 3)")
    assert (await rig.claimable(), await rig.counted()) == (5, 3)
    worker = await rig.worker()
    batch = await worker.claim(10)
    assert batch is not None
    assert await worker.close(batch) == 3
    assert await rig.claimable() == await rig.counted() == 3


@pytest.mark.parametrize("damage", ["DELETE FROM {queue}", "UPDATE {queue} SET claimable = 1, hi = lo", "SELECT"])
async def test_rebuilding_makes_the_ranges_from_the_rows(rig: Rig, damage: str) -> None:
    await rig.insert(range(1, 1001))
    worker = await rig.worker()
    held, lost = await worker.claim(100), await worker.claim(100)
    assert held is not None
    assert lost is not None
    await worker.settle(lost, [rig.subject.done(row) for row in lost.rows[:10]], failures(lost, None, range(111, 121)))
    await worker.settle(lost, [], failures(lost, 600, range(121, 131)))
    await rig.owner.execute("DELETE FROM batch_jobs WHERE batch_id = $1", lost.batch_id)
    await rig.owner.execute(
        damage.format(queue=f"{rig.table.queue} WHERE batch_id IS NULL" if "DELETE" in damage else rig.table.queue)
    )
    assert await rig.owner.fetchval(f"SELECT {rig.table.name}_queue_rebuild()") == 800 + 70 + 10
    assert await rig.claimable() == await rig.counted() == 870
    await rig.settle_all(worker, held)
    await rig.make_due()
    assert await rig.drain(worker, 333) == 880
    assert await rig.statuses() == {"completed": 990, "failed": 10}


async def test_rebuilding_beside_a_claim_neither_waits_for_ever_nor_loses_a_row(rig: Rig) -> None:
    await rig.insert(range(1, 101))
    claiming = await rig.connect()
    async with claiming.transaction():
        await claiming.execute(f"SELECT FROM {rig.table.queue} FOR UPDATE")
        await rig.owner.execute(f"SELECT {rig.table.name}_queue_rebuild()")
    worker = await rig.worker()
    assert await rig.drain(worker, 30) == 100
    assert await rig.claimable() == await rig.counted() == 0


async def test_rebuilding_cuts_ranges_by_rows_so_that_keys_may_lie_far_apart(own_users: Rig) -> None:
    await own_users.owner.execute("""
ALTER TABLE users DISABLE TRIGGER users_enqueue_inserted;
INSERT INTO users (id) SELECT n::bigint * 1000000007 FROM generate_series(1, 30000) n""")
    assert await own_users.owner.fetchval("SELECT users_queue_rebuild()") == 30_000
    assert [claimable for _, _, claimable in await own_users.ranges()] == [20_000, 10_000]
    assert len(keys_of(await (await own_users.worker()).claim(20_000))) == 20_000
