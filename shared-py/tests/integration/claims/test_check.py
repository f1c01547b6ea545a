"""A check finds each row that no worker would get, and nothing else, while everybody works on."""

from __future__ import annotations

import asyncio
import random

import pytest

from keda_jobs.claims import check
from keda_jobs.claims.check import CheckResult, QueueCheck
from keda_jobs.errors import Misconfigured

from .harness import Owner, QueueHarness, failures
from .test_plans import plan, scans_of
from .test_stories import ConcurrentStory


async def compare(queue: QueueHarness, connection: Owner | None = None, *, repair: bool = False) -> CheckResult:
    """Run a check to its end."""
    steps = QueueCheck(connection or queue.owner, queue.table, repair=repair).run(asyncio.Event())
    return [result async for result in steps][-1]


async def unseen(queue: QueueHarness, statement: str, *arguments: object) -> None:
    """Run a statement that the queue's triggers do not see."""
    name = queue.table.name
    await queue.owner.execute(f"ALTER TABLE {name} DISABLE TRIGGER USER")
    await queue.owner.execute(statement, *arguments)
    for trigger in queue.table.triggers:
        await queue.owner.execute(f"ALTER TABLE {name} ENABLE ALWAYS TRIGGER {trigger}")


async def last_check(queue: QueueHarness) -> int:
    """Read what the last check left."""
    found = await queue.owner.fetchval(
        f"SELECT stranded_rows FROM {queue.table.queue}_checks ORDER BY checked_at DESC LIMIT 1"
    )
    return int(found)


async def test_a_queue_in_step_has_nothing_to_report(queue: QueueHarness) -> None:
    await queue.insert(range(1, 101))
    worker = await queue.worker()
    done, held, dead = await worker.claim(20), await worker.claim(20), await worker.claim(20)
    assert done is not None
    assert held is not None
    assert dead is not None
    await worker.settle(done, queue.results(done.rows[:5]), failures(done, None, range(6, 11)))
    await worker.settle(done, [], failures(done, 600, range(11, 16)))
    await worker.close(done)
    name, key = queue.table.name, queue.table.key
    await queue.owner.execute(
        "UPDATE keda_jobs.batch_jobs SET lease_expires_at = '2020-01-01' WHERE batch_id = $1", dead.batch_id
    )
    await queue.owner.execute(f"UPDATE {name} SET next_attempt_at = '2999-01-01' WHERE {key} IN (70, 72)")
    await queue.owner.execute(f"UPDATE {name} SET next_attempt_at = 'infinity' WHERE {key} = 71")
    ranges = len(await queue.ranges()) + 2
    assert await compare(queue) == CheckResult(rows=100, ranges=ranges)
    assert await compare(queue, repair=True) == CheckResult(rows=100, ranges=ranges)
    assert await last_check(queue) == 0


@pytest.mark.parametrize(
    ("damage", "stranded", "wrong"),
    [
        ("DELETE FROM {queue} WHERE batch_id IS NULL", 70, 0),
        ("UPDATE {queue} SET lo = lo + 1 WHERE batch_id IS NULL AND claimable > 1", 3, 3),
        ("UPDATE {queue} SET claimable = 1 WHERE batch_id IS NULL", 0, 3),
        ("UPDATE {queue} SET claimable = 999 WHERE batch_id IS NULL", 0, 3),
        ("UPDATE {queue} SET batch_id = 0 WHERE batch_id IS NULL", 70, 3),
        ("UPDATE keda_jobs.batch_jobs SET status = 'abandoned' WHERE status = 'running'", 20, 1),
        ("DELETE FROM keda_jobs.batch_jobs", 20, 1),
        ("DELETE FROM {queue}; DELETE FROM keda_jobs.batch_jobs", 90, 0),
        ("UPDATE {name} SET next_attempt_at = next_attempt_at - interval '1 s' WHERE {key} IN (55, 60, 61)", 3, 1),
        ("UPDATE {name} SET batch_id = 77 WHERE {key} > 80", 20, 1),
        ("UPDATE {name} SET batch_status = 'processing' WHERE {key} > 80", 20, 1),
        ("DELETE FROM {name} WHERE {key} > 80", 0, 1),
    ],
)
async def test_each_row_that_no_worker_would_get_is_found_and_repaired(
    queue: QueueHarness, damage: str, stranded: int, wrong: int
) -> None:
    await queue.insert(range(1, 101))
    worker = await queue.worker()
    done, held = await worker.claim(30), await worker.claim(20)
    assert done is not None
    assert held is not None
    await worker.settle(done, queue.results(done.rows[:10]), failures(done, 600, range(11, 21)))
    await worker.close(done)
    await unseen(queue, damage.format(name=queue.table.name, key=queue.table.key, queue=queue.table.queue))
    found = await compare(queue)
    assert (found.stranded_rows, found.wrong_ranges, found.rows_left) == (stranded, wrong, stranded)
    assert await last_check(queue) == stranded
    repaired = await compare(queue, repair=True)
    assert (repaired.stranded_rows, repaired.repaired_rows, repaired.repaired_ranges) == (stranded, stranded, wrong)
    assert await queue.claimable() == await queue.recount()
    assert (await compare(queue)).rows_left == await last_check(queue) == 0
    await queue.expire_leases()
    await worker.recover()
    await queue.make_due()
    await queue.drain(worker)
    assert await queue.statuses() == {
        "completed": await queue.owner.fetchval(f"SELECT count(*) FROM {queue.table.name}")
    }


_MISSING = """
SELECT count(*) FROM users AS row
WHERE batch_status IN ('pending', 'failed') AND next_attempt_at < 'infinity' AND NOT EXISTS (
  SELECT FROM keda_jobs.users_queue_spans AS range WHERE row.id BETWEEN lo AND hi
    AND range.batch_status = row.batch_status
    AND range.next_attempt_at = row.next_attempt_at AND from_batch IS NOT DISTINCT FROM row.batch_id
    AND range.batch_id IS NULL
) OR batch_status = 'processing' AND NOT EXISTS (
  SELECT FROM keda_jobs.batch_jobs AS batch WHERE batch.batch_id = row.batch_id AND status = 'running'
)"""
_DAMAGES = (
    "DELETE FROM keda_jobs.users_queue WHERE range_id % 3 = 0",
    "UPDATE keda_jobs.users_queue SET lo = lo + 5 WHERE lo + 5 <= hi AND keys IS NULL AND range_id % 2 = 0",
    "UPDATE keda_jobs.users_queue SET hi = hi - 3 WHERE lo <= hi - 3 AND keys IS NULL AND range_id % 2 = 1",
    "UPDATE keda_jobs.users_queue SET keys = keys[2:], times = times[2:] WHERE cardinality(keys) > 1",
    "UPDATE keda_jobs.users_queue SET from_batch = 5 WHERE range_id % 4 = 1",
    "UPDATE keda_jobs.users_queue SET next_attempt_at = '-infinity' WHERE range_id % 4 = 2",
    "UPDATE keda_jobs.users_queue SET batch_id = 1 WHERE range_id % 5 = 1",
    "INSERT INTO keda_jobs.users_queue (lo, hi, claimable, next_attempt_at) VALUES (3, 30, 5, '2026-01-01')",
    "UPDATE users SET batch_status = 'pending' WHERE id % 10 = 1",
    "UPDATE users SET batch_status = 'processing' WHERE id % 10 = 2",
    "UPDATE users SET next_attempt_at = '4713-01-01 BC' WHERE id % 10 = 3",
    "UPDATE keda_jobs.batch_jobs SET status = 'abandoned' WHERE batch_id % 2 = 0",
)


@pytest.mark.parametrize("seed", range(3))
async def test_a_check_agrees_with_a_comparison_of_each_row_after_any_damage(
    own_users: QueueHarness, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(check, "WINDOW", 9)
    chance = random.Random(seed)
    story = ConcurrentStory(own_users, await own_users.worker(), seed, fresh_sessions=False)
    for _ in range(6):
        for _ in range(4):
            await story.step()
        told = chance.sample(_DAMAGES, 3)
        await unseen(own_users, "; ".join(told))
        missing = await own_users.owner.fetchval(_MISSING)
        assert (await compare(own_users)).stranded_rows == missing, told
        repaired = await compare(own_users, repair=True)
        assert repaired.repaired_rows == repaired.stranded_rows == missing, told
        assert await own_users.owner.fetchval(_MISSING) == 0, told
        claimable, counted = await own_users.claimable_and_recount()
        assert claimable >= counted, told
        assert (await compare(own_users)).wrong_ranges == 0, told
    await story.finish()
    # Rows that ranges of running batches lost are found once those batches have ended.
    assert (await compare(own_users, repair=True)).rows_left == 0
    await story.finish()
    assert await own_users.keys("batch_status <> 'completed' AND next_attempt_at < 'infinity'") == []


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happens_meanwhile_is_neither_reported_nor_repaired(
    users: QueueHarness, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(check, "WINDOW", 9)
    story = ConcurrentStory(users, await users.worker(), seed, fresh_sessions=False)
    checking, repairing = await users.connect("users_worker"), await users.connect("users_worker")
    is_over = asyncio.Event()

    async def checks() -> None:
        while not is_over.is_set():
            for connection, repair in ((checking, False), (repairing, True)):
                assert (await compare(users, connection, repair=repair)).stranded_rows == 0

    async def changes() -> None:
        try:
            for _ in range(30):
                await story.step()
                assert await story.check()
        finally:
            is_over.set()

    await asyncio.gather(checks(), changes())
    await story.finish()
    assert await users.claimable() == await users.recount() == 0


async def test_rows_that_somebody_is_changing_are_not_waited_for(users: QueueHarness) -> None:
    await users.insert(range(1, 21))
    await unseen(users, "DELETE FROM keda_jobs.users_queue; UPDATE users SET batch_status = 'processing' WHERE id > 10")
    person = await users.connect()
    transaction = person.transaction()
    await transaction.start()
    # As every writer does.
    await person.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
    await person.execute("UPDATE users SET name = 'Eve' WHERE id IN (5, 15)")
    await person.execute("DELETE FROM users WHERE id IN (6, 16)")
    await person.execute("INSERT INTO users (id) VALUES (21)")
    found = await compare(users, repair=True)
    assert (found.stranded_rows, found.repaired_rows, found.rows_left) == (20, 16, 4)
    await transaction.commit()
    assert (await compare(users, repair=True)).rows_left == 0
    assert await users.claimable() == await users.recount() == 19


async def test_a_row_that_is_put_off_during_its_repair_leaves_the_range_that_the_repair_made(
    users: QueueHarness,
) -> None:
    await users.insert(range(1, 21))
    await unseen(users, "DELETE FROM keda_jobs.users_queue")
    repairing, person = await users.connect(), await users.connect()
    async with repairing.transaction():
        assert (await compare(users, repairing, repair=True)).repaired_rows == 20
        change = asyncio.create_task(person.execute("UPDATE users SET next_attempt_at = '2999-01-01' WHERE id = 7"))
        await users.until_blocked()
    await change
    assert await users.claimable() == await users.recount() == 19


async def test_two_repairs_at_once_queue_each_row_once(users: QueueHarness) -> None:
    await users.insert(range(1, 101))
    await unseen(users, "DELETE FROM keda_jobs.users_queue")
    repairs = [compare(users, await users.connect(), repair=True) for _ in range(4)]
    assert sum(done.repaired_rows for done in await asyncio.gather(*repairs)) == 100
    assert await users.claimable() == await users.recount() == 100


async def test_a_repair_makes_few_ranges_that_hold_no_row_of_another(
    users: QueueHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "WINDOW", 10)
    insert = "INSERT INTO users (id, next_attempt_at) SELECT {key}, '2026-01-01' FROM generate_series({keys}) n"
    await unseen(users, insert.format(key="n::bigint * 1000000007", keys="1, 25"))
    assert (await compare(users, repair=True)).repaired_rows == 25
    assert [rows for _, _, rows in await users.ranges()] == [10, 10, 5]
    await unseen(users, insert.format(key="n", keys="1, 5"))
    await users.owner.execute(insert.format(key="n", keys="6, 6"))
    await unseen(users, insert.format(key="n", keys="7, 9"))
    assert (await compare(users, repair=True)).repaired_rows == 8
    assert (await users.ranges())[:2] == [(1, 9, 8), (6, 6, 1)]
    listed = await users.owner.fetchval("SELECT keys FROM keda_jobs.users_queue WHERE hi = 9")
    assert listed == [1, 2, 3, 4, 5, 7, 8, 9]


async def test_keys_at_both_ends_of_bigint_are_compared(users: QueueHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "WINDOW", 1)
    keys = [-(2**63), -5, 0, 2**63 - 2, 2**63 - 1]
    await unseen(users, "INSERT INTO users (id) SELECT unnest($1::bigint[])", keys)
    assert (await compare(users)).stranded_rows == 5
    assert (await compare(users, repair=True)).repaired_rows == 5
    assert await users.drain(await users.worker()) == 5


_CANCEL = """
CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'no' USING ERRCODE = 'query_canceled'; END $$;
CREATE TRIGGER cancel BEFORE UPDATE ON users FOR EACH ROW WHEN (OLD.name IS NULL) EXECUTE FUNCTION cancel()"""

# An error that a whole server has otherwise, at the end of the transaction.
_REFUSE_LATE = (
    _CANCEL.replace("query_canceled", "too_many_connections")
    .replace("CREATE TRIGGER cancel BEFORE UPDATE ON users", "CREATE CONSTRAINT TRIGGER cancel AFTER UPDATE ON users"
    " DEFERRABLE INITIALLY DEFERRED")
)  # fmt: skip


@pytest.mark.parametrize(
    "obstacle",
    [
        pytest.param("ALTER TABLE users ADD CHECK (name IS NOT NULL) NOT VALID", id="refused"),
        pytest.param(_CANCEL, id="too slow"),
        pytest.param(_REFUSE_LATE, id="refused at the end"),
    ],
)
async def test_claimed_rows_that_the_table_does_not_let_be_updated_stay(own_users: QueueHarness, obstacle: str) -> None:
    await own_users.insert(range(1, 21))
    await unseen(
        own_users,
        "DELETE FROM keda_jobs.users_queue; UPDATE users SET batch_status = 'processing', name = nullif(id % 14, 3)",
    )
    await own_users.owner.execute(obstacle)
    found = await compare(own_users, repair=True)
    assert (found.stranded_rows, found.repaired_rows) == (20, 18)
    assert await own_users.claimable() == 18


async def test_a_stopped_check_keeps_no_result(users: QueueHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "WINDOW", 10)
    await users.insert(range(1, 101))
    stop = asyncio.Event()
    async for result in QueueCheck(users.owner, users.table, repair=False).run(stop):
        if result.rows == 30:
            stop.set()
    assert result.rows == 30
    assert await users.owner.fetchval("SELECT count(*) FROM keda_jobs.users_queue_checks") == 0


async def test_a_worker_may_check_and_repair(users: QueueHarness) -> None:
    await users.insert(range(1, 11))
    await unseen(users, "DELETE FROM keda_jobs.users_queue; UPDATE users SET batch_status = 'processing' WHERE id > 5")
    worker = await users.connect("users_worker")
    assert (await compare(users, worker, repair=True)).rows_left == await last_check(users) == 0
    assert await users.claimable() == await users.recount() == 10


async def test_a_repair_waits_until_triggers_are_on(own_users: QueueHarness) -> None:
    await own_users.insert(range(1, 11))
    await own_users.owner.execute("ALTER TABLE users DISABLE TRIGGER users_note_change")
    with pytest.raises(Misconfigured, match=r"triggers are off: users_note_change; .* then keda-jobs batch check"):
        await compare(own_users, repair=True)
    assert (await compare(own_users)).stranded_rows == 0


async def test_rows_that_are_hidden_from_a_check_are_an_error(own_users: QueueHarness) -> None:
    await own_users.insert(range(1, 11))
    await own_users.owner.execute("ALTER TABLE users ENABLE ROW LEVEL SECURITY")
    with pytest.raises(Misconfigured, match="row-level security"):
        await compare(own_users, await own_users.connect("users_worker"))


async def test_the_cost_of_a_window_does_not_grow_with_ranges_of_one_kind(users: QueueHarness) -> None:
    """Nothing is compared with each of many: the plan has hashes and sorts only."""
    sql = check._Statements(users.table)
    for statement, number in ((sql.count_stranded, 2), (sql.queue_stranded, 3)):
        found = await plan(users, "generic", check._BY_WINDOW, statement, "(1, 20000)")
        loops = [node for node in found if node.kind == "Nested Loop"]
        assert len(loops) == number, "each range has spans, each span two ends, and what is queued becomes ranges"
        assert {node.by for node in scans_of(found, "users")} == {"users_pkey"}
