"""Scattered keys and a time for each row make few ranges, and a claim reads few rows that it does not get."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from keda_jobs.claims import Batch, ClaimQueue, Failure
from keda_jobs.claims.failed_rows import FailedRows, RowFilter
from keda_jobs.claims.statements import BY_RANGE, SET_LOCAL, Statements
from keda_jobs.claims.values import ColumnType

from .harness import QueueHarness, batch_keys, failures

_ROWS = 6000
_FEW = 10
"""Ranges of so many rows, at most. A list holds 1000 rows."""

_KEYS = {
    "every second": "2 * n",
    "one in fifty": "50 * n",
    "as snowflakes come": "(1288834974657 + 100 * n << 22) + 4096",
    "from end to end": "(n - 3000) * 3074457345618258",
    "in random order": "1 + (n * 7919) % 1000003",
}
_TIMES = {
    "now": "now()",
    "one": "timestamptz '2026-01-01'",
    "its own": "timestamptz '2026-01-01' + n * interval '1 second'",
    "its own, in random order": "timestamptz '2026-01-01' + (n * 7919) % 1000003 * interval '1 second'",
}


def insert(keys: str, times: str, rows: int = _ROWS) -> str:
    return (
        f"INSERT INTO users (id, next_attempt_at) SELECT {keys}, {times} FROM generate_series(1::bigint, {rows}) AS n"
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


async def rows_read_by_a_claim(queue: QueueHarness) -> float:
    """Return how many rows a claim of everything reads for each that it gets. The claim is rolled back."""
    sql = Statements(queue.table, dict.fromkeys(queue.table.writes, ColumnType("text")))
    transaction = queue.owner.transaction()
    await transaction.start()
    await queue.owner.execute(SET_LOCAL, list(BY_RANGE), list(BY_RANGE.values()))
    await queue.owner.execute(f"UPDATE {queue.table.queue} SET batch_id = 7")
    text = await queue.owner.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.claim.replace('$1', '7')}")
    await transaction.rollback()
    plan = json.loads(text)[0]["Plan"]
    [scan] = [node for node in nodes(plan) if "Scan" in node["Node Type"] and node.get("Relation Name") == "users"]
    got = scan["Actual Rows"] * scan["Actual Loops"]
    return float((got + scan.get("Rows Removed by Filter", 0) * scan["Actual Loops"]) / got)


async def buffers_of_the_scaler(queue: QueueHarness) -> int:
    text = await queue.owner.fetchval(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT rows FROM {queue.table.claimable}"
    )
    plan = json.loads(text)[0]["Plan"]
    assert not any(node.get("Relation Name") == "users" for node in nodes(plan))
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize("times", _TIMES.values(), ids=_TIMES)
@pytest.mark.parametrize("keys", _KEYS.values(), ids=_KEYS)
async def test_scattered_rows_of_one_statement_are_few_ranges(users: QueueHarness, keys: str, times: str) -> None:
    await users.owner.execute(insert(keys, times))
    assert len(await users.ranges()) < _FEW
    assert await users.claimable() == await users.recount() == _ROWS
    assert await buffers_of_the_scaler(users) < 50
    assert await rows_read_by_a_claim(users) < 11
    assert await users.drain(await users.worker(), 2500) == _ROWS
    assert await users.claimable() == await users.recount() == 0


@pytest.mark.parametrize("times", _TIMES.values(), ids=_TIMES)
async def test_writers_side_by_side_make_ranges_of_their_own(users: QueueHarness, times: str) -> None:
    first, second = await users.connect(), await users.connect()
    async with first.transaction(), second.transaction():
        for part in range(3):
            shift = part * 2000
            await first.execute(insert(f"2 * ({shift} + n)", times, 2000))
            await second.execute(insert(f"2 * ({shift} + n) + 1", times, 2000))
    assert len(await users.ranges()) < 2 * _FEW
    assert await users.claimable() == await users.recount() == 2 * _ROWS
    worker = await users.worker()
    batch = await worker.claim(1000)
    assert len(batch_keys(batch)) == 1000, "no range holds the other's rows"
    assert await users.drain(worker) == 2 * _ROWS - 1000


async def test_a_row_outside_fills_no_range_with_the_rows_between(users: QueueHarness) -> None:
    await users.owner.execute(insert("n", "'2020-01-01'", 3000))
    await users.drain(await users.worker())
    await users.owner.execute("INSERT INTO users (id) VALUES (-5), (3001), (9000)")
    assert await rows_read_by_a_claim(users) < 2
    assert await users.drain(await users.worker()) == 3


async def test_rows_inserted_one_by_one_are_merged_by_the_claim(users: QueueHarness) -> None:
    await users.owner.execute("""
DO $$ BEGIN
  FOR n IN 1..3000 LOOP INSERT INTO users (next_attempt_at) VALUES (clock_timestamp()); END LOOP;
END $$""")
    assert len(await users.ranges()) == 3000
    worker = await users.worker()
    batch = await worker.claim(2000)
    assert batch_keys(batch) == list(range(1, 2001))
    held = await users.owner.fetchval(f"SELECT count(*) FROM {users.table.queue} WHERE batch_id IS NOT NULL")
    assert held < _FEW
    assert await users.claimable() == await users.recount() == 1000
    assert await users.drain(worker) == 1000


async def test_rows_of_a_list_become_due_one_after_the_other(users: QueueHarness) -> None:
    times = "now() + (n - 500) * interval '1 hour' + interval '30 minutes'"
    await users.owner.execute(insert("(n * 7919) % 1009", times, 1000))
    assert len(await users.ranges()) == 1
    assert await users.claimable() == await users.recount() == 499
    worker = await users.worker()
    by_time = [row[0] for row in await users.owner.fetch("SELECT id FROM users ORDER BY next_attempt_at")]
    assert batch_keys(await worker.claim(100)) == sorted(by_time[:100])
    assert await users.claimable() == await users.recount() == 399
    assert batch_keys(await worker.claim(1000)) == sorted(by_time[100:499])
    assert await worker.claim(1000) is None
    assert [claimable for *_, claimable in await users.ranges()] == [501]


async def test_rows_of_one_statement_are_claimed_in_order_of_time(users: QueueHarness) -> None:
    await users.owner.execute(insert("n", "'2026-01-01'::timestamptz - n * interval '1 second'", 2500))
    worker = await users.worker()
    assert batch_keys(await worker.claim(700)) == list(range(1801, 2501))
    assert batch_keys(await worker.claim(700)) == list(range(1101, 1801))


async def fail(worker: ClaimQueue, batch: Batch, every: int, delay_s: float | None = 600) -> list[int]:
    """Fail each row at a place that `every` divides, each with a time of its own, in two parts. Return their keys."""
    rows = sorted(batch.rows)[::every]
    given = [Failure(row.key, "it broke", delay_s and delay_s + place) for place, row in enumerate(rows)]
    await worker.settle(batch, [], given[::2])
    await worker.settle(batch, [], given[1::2])
    return [row.key for row in rows]


@pytest.mark.parametrize("keys", [_KEYS["as snowflakes come"], _KEYS["every second"], "n"])
async def test_scattered_failures_are_few_ranges(users: QueueHarness, keys: str) -> None:
    await users.owner.execute(insert(keys, "now()"))
    worker = await users.worker()
    batch = await worker.claim(_ROWS)
    assert batch is not None
    failed = await fail(worker, batch, 50)
    await worker.close(batch)
    await users.owner.execute("UPDATE users SET batch_status = 'completed' WHERE batch_status = 'pending'")
    assert len(await users.ranges()) <= 2
    assert await rows_read_by_a_claim(users) < 2
    await users.make_due()
    assert await users.claimable() == await users.recount() == len(failed)
    assert batch_keys(await worker.claim(_ROWS)) == failed


@pytest.mark.parametrize("keys", [_KEYS["as snowflakes come"], _KEYS["every second"], "n"])
async def test_rows_given_back_are_few_ranges(users: QueueHarness, keys: str) -> None:
    await users.owner.execute(insert(keys, "now()"))
    worker = await users.worker()
    batch = await worker.claim(_ROWS)
    assert batch is not None
    done = [row for number, row in enumerate(batch.rows) if number % 40]
    await worker.settle(batch, users.results(done), [])
    assert await worker.close(batch) == _ROWS - len(done)
    assert len(await users.ranges()) <= 2
    assert await rows_read_by_a_claim(users) < 2
    assert await users.drain(worker) == _ROWS - len(done)


@pytest.mark.parametrize("delay_s", [None, 600.0])
async def test_a_retry_of_scattered_rows_reads_each_row_and_range_a_few_times(
    users: QueueHarness, delay_s: float | None
) -> None:
    await users.owner.execute(insert("100 * n", "now()"))
    worker = await users.worker()
    batch = await worker.claim(_ROWS)
    assert batch is not None
    await fail(worker, batch, 1, delay_s)
    failed = FailedRows(users.owner, users.table)
    rows = await failed.find(RowFilter(), 3000)
    async with users.owner.transaction():
        before = await users.owner.fetchval(_TUPLES_READ)
        assert (await failed.reset(rows)).rows == 3000
        read = await users.owner.fetchval(_TUPLES_READ) - before
    assert read < 10 * 3000
    assert len(await users.ranges()) < 2 * _FEW
    assert await users.claimable() == await users.recount() == 3000
    assert await users.drain(worker) == 3000


_TUPLES_READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables
WHERE relname IN ('users', 'users_queue')"""


_CHANGES = (
    "UPDATE users SET next_attempt_at = next_attempt_at + interval '9 years' WHERE id % {} = 0",
    "UPDATE users SET next_attempt_at = next_attempt_at - interval '9 years' WHERE id % {} = 0",
    "UPDATE users SET batch_status = 'failed', next_attempt_at = now() + id * interval '1 second' WHERE id % {} = 0",
    "DELETE FROM users WHERE id % {} = 0",
    "UPDATE users SET id = -id WHERE id % {} = 0",
    """
INSERT INTO users (id, next_attempt_at) SELECT 3 * n + 2, now() - n * interval '1 second'
FROM generate_series(1, 900) AS n WHERE n % {} = 0 ON CONFLICT DO NOTHING""",
)


@pytest.mark.parametrize("seed", range(3))
async def test_rows_leave_lists_by_any_change(users: QueueHarness, seed: int) -> None:
    chance = random.Random(seed)
    await users.owner.execute(insert("3 * n", _TIMES["its own, in random order"], 1500))
    await users.owner.execute(insert("3 * n + 1", "'2030-01-01'", 500))
    worker = await users.worker()
    for _ in range(12):
        change = chance.choice(_CHANGES)
        await users.owner.execute(change.format(chance.choice((2, 7, 31, 300))))
        assert await users.claimable() == await users.recount(), change
        if batch := await worker.claim(chance.randint(1, 90)):
            await worker.settle(batch, [], failures(batch, chance.choice((0.0, 600.0)))[::2])
            await worker.close(batch)
        assert await users.claimable() == await users.recount(), change


async def test_many_workers_share_the_rows_of_lists(users: QueueHarness) -> None:
    await users.owner.execute(insert("50 * n", _TIMES["its own"]))
    workers = [await users.worker(f"pod-{number}", connections=1) for number in range(6)]

    async def claim_all(worker: ClaimQueue) -> list[int]:
        keys: list[int] = []
        while (batch := await worker.claim(370)) is not None or await worker.claimable():
            keys += batch_keys(batch)
        return keys

    claimed = await asyncio.gather(*map(claim_all, workers))
    assert sorted(key for keys in claimed for key in keys) == await users.keys()


async def test_rows_that_wait_under_another_batch_s_number_are_listed(users: QueueHarness) -> None:
    """As a restore copies them: ranges that hold other rows too would give a claim more than it asks for."""
    await users.owner.execute("""
INSERT INTO users (id, next_attempt_at, batch_id, batch_status)
SELECT n, '2026-01-01', n % 3, CASE WHEN n % 5 = 0 THEN 'failed' ELSE 'pending' END
FROM generate_series(1, 3000) AS n""")
    assert len(await users.ranges()) < _FEW
    assert await users.claimable() == await users.recount() == 3000
    worker = await users.worker()
    assert len(batch_keys(await worker.claim(300))) == 300
    assert await users.drain(worker) == 2700
