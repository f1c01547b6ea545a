"""Rows that an application inserts are queued, by any statement and with no right on the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .harness import Owner, QueueHarness, batch_keys


@pytest.fixture
async def application(users: QueueHarness) -> AsyncIterator[Owner]:
    """Connect as a role that may insert users and nothing else."""
    role = f"application_{await users.owner.fetchval('SELECT current_database()')}"
    await users.owner.execute(f"CREATE ROLE {role} LOGIN; GRANT INSERT ON users TO {role}")
    yield await users.connect(role)
    await users.owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_single_row_is_queued(users: QueueHarness, application: Owner) -> None:
    await application.execute("INSERT INTO users (name) VALUES ('Ada')")
    assert await users.ranges() == [(1, 1, 1)]
    assert await users.claimable() == await users.recount() == 1


async def test_rows_of_one_statement_are_one_range(users: QueueHarness, application: Owner) -> None:
    await application.execute("INSERT INTO users (name) SELECT 'Ada' FROM generate_series(1, 10)")
    assert await users.ranges() == [(1, 10, 10)]


async def test_copied_rows_are_queued(users: QueueHarness, application: Owner) -> None:
    await application.copy_records_to_table("users", records=[("Ada",), ("Grace",)], columns=["name"])
    assert await users.ranges() == [(1, 2, 2)]


async def test_a_hundred_thousand_rows_of_one_statement_make_ranges_of_twenty_thousand(
    users: QueueHarness, application: Owner
) -> None:
    await application.execute("INSERT INTO users (name) SELECT 'Ada' FROM generate_series(1, 100000)")
    assert await users.ranges() == [(20_000 * part + 1, 20_000 * (part + 1), 20_000) for part in range(5)]


async def test_two_open_transactions_may_insert_between_each_others_rows(
    users: QueueHarness, application: Owner
) -> None:
    moment = "'2020-01-01'"
    async with application.transaction():
        await application.execute(
            f"INSERT INTO users (id, next_attempt_at) SELECT 2 * n, {moment} FROM generate_series(1, 5) n"
        )
        await users.owner.execute(
            f"INSERT INTO users (id, next_attempt_at) SELECT 2 * n + 1, {moment} FROM generate_series(1, 5) n"
        )
        worker = await users.worker()
        batch = await worker.claim(3)
        assert batch_keys(batch) == [3, 5, 7]
    assert await users.claimable() == await users.recount() == 7
    assert batch_keys(await worker.claim(100)) == [2, 4, 6, 8, 9, 10, 11]


async def test_rows_of_a_transaction_that_is_rolled_back_are_not_queued(
    users: QueueHarness, application: Owner
) -> None:
    transaction = application.transaction()
    await transaction.start()
    await application.execute("INSERT INTO users (name) VALUES ('Ada')")
    await transaction.rollback()
    assert await users.ranges() == []


async def test_rows_of_an_open_transaction_are_neither_counted_nor_claimed(
    users: QueueHarness, application: Owner
) -> None:
    worker = await users.worker()
    async with application.transaction():
        await application.execute("INSERT INTO users (name) VALUES ('Ada')")
        assert await users.claimable() == 0
        assert await worker.claim(10) is None
    assert batch_keys(await worker.claim(10)) == [1]


async def test_a_row_inserted_for_later_waits_until_then(users: QueueHarness, application: Owner) -> None:
    await application.execute("""
INSERT INTO users (id, next_attempt_at) VALUES (1, now() + '1 hour'), (2, now()), (3, now() + '1 hour')""")
    assert await users.claimable() == await users.recount() == 1
    worker = await users.worker()
    assert batch_keys(await worker.claim(10)) == [2]
    await users.owner.execute("UPDATE users SET next_attempt_at = '2020-01-01' WHERE id <> 2")
    assert await users.claimable() == await users.recount() == 2
    assert batch_keys(await worker.claim(10)) == [1, 3]


async def test_rows_inserted_in_a_final_state_are_not_queued_and_waiting_ones_are(users: QueueHarness) -> None:
    await users.owner.execute("""
INSERT INTO users (id, batch_status, next_attempt_at) VALUES
  (1, 'completed', now()), (2, 'failed', 'infinity'), (3, 'pending', 'infinity'), (4, 'failed', '2020-01-01'),
  (5, 'pending', '2020-01-01')""")
    assert await users.claimable() == await users.recount() == 2
    assert batch_keys(await (await users.worker()).claim(10)) == [4, 5]


async def test_a_conflict_that_does_nothing_queues_nothing(users: QueueHarness) -> None:
    await users.insert([1, 2])
    await users.owner.execute("INSERT INTO users (id) VALUES (1), (3) ON CONFLICT DO NOTHING")
    await users.owner.execute("INSERT INTO users (id) VALUES (1), (3) ON CONFLICT DO NOTHING")
    assert await users.ranges() == [(1, 2, 2), (3, 3, 1)]


async def test_an_upsert_queues_what_it_inserts_and_leaves_what_it_updates(users: QueueHarness) -> None:
    await users.insert([1, 2])
    await users.owner.execute(
        "INSERT INTO users (id, name) VALUES (1, 'Ada'), (3, 'Grace') ON CONFLICT (id) DO UPDATE SET name = 'again'"
    )
    assert await users.ranges() == [(1, 2, 2), (3, 3, 1)]
    assert batch_keys(await (await users.worker()).claim(10)) == [1, 2, 3]


async def test_an_empty_statement_queues_nothing(users: QueueHarness) -> None:
    await users.owner.execute("INSERT INTO users (name) SELECT 'Ada' WHERE false")
    assert await users.ranges() == []


async def test_an_application_that_edits_a_waiting_row_does_not_disturb_the_queue(users: QueueHarness) -> None:
    await users.insert([1, 2, 3])
    await users.owner.execute("UPDATE users SET name = 'changed'")
    assert await users.ranges() == [(1, 3, 3)]
    assert batch_keys(await (await users.worker()).claim(10)) == [1, 2, 3]


async def test_truncating_the_table_empties_the_queue_and_keeps_batch_counts_right(users: QueueHarness) -> None:
    await users.insert(range(1, 11))
    worker = await users.worker()
    batch = await worker.claim(4)
    assert batch is not None
    await users.owner.execute("TRUNCATE users")
    await users.expire_leases()
    assert await users.claimable() == await users.recount() == 0
    assert await worker.recover() == 0
    assert [(row.status, row.adds_up) for row in await users.batches()] == [("abandoned", True)]
    await users.insert([1])
    assert batch_keys(await worker.claim(10)) == [1]
