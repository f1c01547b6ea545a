"""Rows that a claim takes, and rows that it leaves to others."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from keda_jobs.claims import ClaimQueue, ClaimTable
from keda_jobs.errors import Misconfigured

from .harness import QueueHarness, batch_keys, failures


async def test_a_claim_takes_claim_size_rows_with_what_the_job_reads(queue: QueueHarness) -> None:
    await queue.insert(range(1, 101))
    batch = await (await queue.worker()).claim(30)
    assert batch_keys(batch) == list(range(1, 31))
    assert batch is not None
    assert {row.attempts for row in batch.rows} == {0}
    read = ", ".join(queue.table.reads)
    as_text = [
        tuple(json.dumps(value) if isinstance(value, dict) else value for value in row.values) for row in batch.rows
    ]
    assert sorted(as_text) == sorted(await queue.rows(read, f"{queue.table.key} <= 30"))
    assert await queue.statuses() == {"processing": 30, "pending": 70}
    assert await queue.claimable() == await queue.recount() == 70


async def test_claiming_from_an_empty_queue_leaves_no_batch(queue: QueueHarness) -> None:
    assert await (await queue.worker()).claim(30) is None
    assert await queue.batches() == []


async def test_a_range_larger_than_the_claim_is_split_exactly(queue: QueueHarness) -> None:
    await queue.insert(range(1, 11))
    worker = await queue.worker()
    sizes = [batch_keys(await worker.claim(4)) for _ in range(4)]
    assert sizes == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]
    assert [batch.claimed for batch in await queue.batches()] == [4, 4, 2]


async def test_many_ranges_make_one_batch(queue: QueueHarness) -> None:
    for key in range(0, 500, 5):
        await queue.insert([key])
    assert len(await queue.ranges()) == 100
    worker = await queue.worker()
    assert batch_keys(await worker.claim(64)) == list(range(0, 320, 5))
    assert batch_keys(await worker.claim(64)) == list(range(320, 500, 5))


async def test_rows_are_claimed_in_order_of_time_then_key(users: QueueHarness) -> None:
    await users.owner.execute("""
INSERT INTO users (id, next_attempt_at) VALUES
  (5, '2020-01-02'), (1, '2020-01-03'), (9, '2020-01-01'), (7, '2020-01-02'), (3, '2020-01-02')""")
    worker = await users.worker()
    assert [batch_keys(await worker.claim(1)) for _ in range(5)] == [[9], [3], [5], [7], [1]]


@pytest.mark.parametrize("moment", ["-infinity", "4713-01-01 BC", "0001-01-01"])
async def test_rows_of_any_time_are_claimed_and_split(users: QueueHarness, moment: str) -> None:
    await users.owner.execute(
        f"INSERT INTO users (id, next_attempt_at) SELECT n, '{moment}' FROM generate_series(1, 20) AS n"
    )
    await users.insert([21, 22])
    await users.owner.execute(f"UPDATE users SET next_attempt_at = '{moment}', batch_status = 'failed' WHERE id > 20")
    worker = await users.worker()
    assert await users.claimable() == await users.recount() == 22
    assert await users.drain(worker, 7) == 22


async def test_concurrent_claims_never_share_a_row(queue: QueueHarness) -> None:
    await queue.insert(range(1, 1501))
    for key in range(2001, 2201):
        await queue.insert([key])
    workers = [await queue.worker(f"pod-{number}", connections=1) for number in range(12)]

    async def claim_all(worker: ClaimQueue) -> list[list[int]]:
        taken = []
        while (batch := await worker.claim(37)) is not None or await worker.claimable():
            taken.append(batch_keys(batch))
        return taken

    taken = list(itertools.chain(*await asyncio.gather(*map(claim_all, workers))))
    assert sorted(itertools.chain(*taken)) == await queue.keys()
    assert max(map(len, taken)) == 37
    assert await queue.statuses() == {"processing": 1700}


async def test_a_locked_range_is_skipped(queue: QueueHarness) -> None:
    await queue.insert([1, 2, 3])
    await queue.insert([11, 12])
    other = await queue.connect()
    async with other.transaction():
        await other.execute(f"SELECT FROM {queue.table.queue} WHERE lo = 1 FOR UPDATE")
        worker = await queue.worker()
        assert batch_keys(await worker.claim(100)) == [11, 12]
        assert await worker.claim(100) is None
        assert await worker.claimable() == 3
    assert batch_keys(await worker.claim(100)) == [1, 2, 3]


async def test_ranges_whose_rows_were_deleted_are_dropped_and_the_next_is_claimed(queue: QueueHarness) -> None:
    for first in (1, 101, 201):
        await queue.insert(range(first, first + 10))
    await queue.owner.execute(f"DELETE FROM {queue.table.name} WHERE {queue.table.key} < 200")
    worker = await queue.worker()
    assert batch_keys(await worker.claim(5)) == [201, 202, 203, 204, 205]
    assert await queue.ranges() == [(206, 210, 5)]
    assert [batch.claimed for batch in await queue.batches()] == [5]


async def test_a_range_with_deleted_rows_is_split_by_the_rows_left(queue: QueueHarness) -> None:
    await queue.insert(range(1, 21))
    await queue.owner.execute(f"DELETE FROM {queue.table.name} WHERE {queue.table.key} % 2 = 0")
    worker = await queue.worker()
    assert batch_keys(await worker.claim(6)) == [1, 3, 5, 7, 9, 11]
    assert batch_keys(await worker.claim(6)) == [13, 15, 17, 19]
    assert await worker.claim(6) is None
    assert await queue.claimable() == 0


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([3, 900, 30_000, 1_999_999, 2_000_000, 2_000_000_000], id="sparse"),
        pytest.param([-2_000_000_000, -1_000_001, -20_001, -20_000, -1, 0, 1, 19_999], id="negative"),
        pytest.param([7 * step - 3 for step in range(-100, 100)], id="every seventh"),
    ],
)
async def test_keys_of_any_distribution_are_claimed(queue: QueueHarness, keys: list[int]) -> None:
    await queue.insert(keys)
    worker = await queue.worker()
    batch = await worker.claim(1000)
    assert batch_keys(batch) == sorted(keys)
    assert batch is not None
    assert await worker.close(batch) == len(keys)
    assert await queue.claimable() == len(keys)
    assert await queue.drain(worker, 50) == len(keys)


async def test_keys_like_snowflakes_are_claimed(users: QueueHarness) -> None:
    keys = [(1_288_834_974_657 + milliseconds << 22) + 4096 for milliseconds in range(0, 50_000, 100)]
    edges = [-(2**63), -(2**63) + 1, 2**63 - 1]
    await users.insert(keys + edges)
    worker = await users.worker()
    batch = await worker.claim(300)
    assert len(batch_keys(batch)) == 300
    assert batch is not None
    await worker.settle(batch, [], failures(batch, 60))
    await worker.close(batch)
    await users.make_due()
    assert await users.drain(worker) == len(keys) + len(edges)


async def test_a_claim_can_be_cancelled_at_any_moment(queue: QueueHarness) -> None:
    await queue.insert(range(1, 200))
    worker = await queue.worker(connections=1)
    for turns in range(1, 60):
        claim = asyncio.create_task(worker.claim(3))
        for _ in range(turns):
            await asyncio.sleep(0)
        claim.cancel()
        await asyncio.gather(claim, return_exceptions=True)
    await queue.expire_leases()
    while await worker.recover() is not None:
        pass
    assert await queue.claimable() == await queue.recount() == 199
    assert await queue.drain(worker) == 199


async def test_a_batch_is_opened_with_pod_and_lease(queue: QueueHarness) -> None:
    await queue.insert([1])
    await (await queue.worker("pod-7", lease_s=42)).claim(10)
    [opened] = await queue.owner.fetch("""
SELECT batch_name, pod_name, status, finished_at, claimed, extract(epoch FROM lease_expires_at - started_at)::float8
FROM batch_jobs""")
    assert tuple(opened)[:5] == (queue.table.batch_name, "pod-7", "running", None, 1)
    assert opened[5] == pytest.approx(42, abs=1)


async def test_a_table_without_a_queue_is_refused_in_one_line(own_users: QueueHarness) -> None:
    await own_users.owner.execute("CREATE TABLE others (id bigint PRIMARY KEY)")
    with pytest.raises(Misconfigured, match=r"no claim queue on others; apply the job's schema first"):
        await own_users.worker(table=ClaimTable("others", "others"))


async def test_a_missing_column_is_named(users: QueueHarness) -> None:
    with pytest.raises(Misconfigured, match="users has no column nickname, phone; create it"):
        await users.worker(table=ClaimTable("users-batch", "users", "id", ("nickname",), ("phone",)))


async def test_a_written_array_is_refused_at_start(own_users: QueueHarness) -> None:
    await own_users.owner.execute("ALTER TABLE users ADD COLUMN tags text[]")
    with pytest.raises(Misconfigured, match=r"cannot write users\.tags: arrays are not supported"):
        await own_users.worker(table=ClaimTable("users-batch", "users", "id", (), ("tags",)))
