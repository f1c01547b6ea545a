"""What a claim takes, and what it leaves to others."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from keda_jobs.claims import ClaimQueue, ClaimTable
from keda_jobs.errors import Misconfigured

from .rig import Rig, failures, keys_of


async def test_a_claim_takes_claim_size_rows_with_what_the_job_reads(rig: Rig) -> None:
    await rig.insert(range(1, 101))
    batch = await (await rig.worker()).claim(30)
    assert keys_of(batch) == list(range(1, 31))
    assert batch is not None
    assert {row.attempts for row in batch.rows} == {0}
    read = ", ".join(rig.table.reads)
    assert sorted(row.values for row in batch.rows) == sorted(await rig.rows(read, f"{rig.table.key} <= 30"))
    assert await rig.statuses() == {"processing": 30, "pending": 70}
    assert await rig.claimable() == await rig.counted() == 70


async def test_an_empty_queue_has_nothing_to_claim_and_leaves_no_batch(rig: Rig) -> None:
    assert await (await rig.worker()).claim(30) is None
    assert await rig.batches() == []


async def test_a_range_that_is_too_long_is_split_exactly(rig: Rig) -> None:
    await rig.insert(range(1, 11))
    worker = await rig.worker()
    sizes = [keys_of(await worker.claim(4)) for _ in range(4)]
    assert sizes == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]
    assert [batch.claimed for batch in await rig.batches()] == [4, 4, 2]


async def test_many_ranges_make_one_batch(rig: Rig) -> None:
    for key in range(0, 500, 5):
        await rig.insert([key])
    assert len(await rig.ranges()) == 100
    worker = await rig.worker()
    assert keys_of(await worker.claim(64)) == list(range(0, 320, 5))
    assert keys_of(await worker.claim(64)) == list(range(320, 500, 5))


async def test_rows_are_claimed_in_the_order_of_their_time_then_of_their_key(users: Rig) -> None:
    await users.owner.execute("""
INSERT INTO users (id, next_attempt_at) VALUES
  (5, '2020-01-02'), (1, '2020-01-03'), (9, '2020-01-01'), (7, '2020-01-02'), (3, '2020-01-02')""")
    worker = await users.worker()
    assert [keys_of(await worker.claim(1)) for _ in range(5)] == [[9], [3], [5], [7], [1]]


async def test_concurrent_claims_never_share_a_row(rig: Rig) -> None:
    await rig.insert(range(1, 1501))
    for key in range(2001, 2201):
        await rig.insert([key])
    workers = [await rig.worker(f"pod-{number}", connections=1) for number in range(12)]

    async def claim_all(worker: ClaimQueue) -> list[list[int]]:
        taken = []
        while (batch := await worker.claim(37)) is not None or await worker.claimable():
            taken.append(keys_of(batch))
        return taken

    taken = list(itertools.chain(*await asyncio.gather(*map(claim_all, workers))))
    assert sorted(itertools.chain(*taken)) == await rig.keys()
    assert max(map(len, taken)) == 37
    assert await rig.statuses() == {"processing": 1700}


async def test_a_range_that_another_transaction_holds_is_passed_over(rig: Rig) -> None:
    await rig.insert([1, 2, 3])
    await rig.insert([11, 12])
    other = await rig.connect()
    async with other.transaction():
        await other.execute(f"SELECT FROM {rig.table.queue} WHERE lo = 1 FOR UPDATE")
        worker = await rig.worker()
        assert keys_of(await worker.claim(100)) == [11, 12]
        assert await worker.claim(100) is None
        assert await worker.claimable() == 3
    assert keys_of(await worker.claim(100)) == [1, 2, 3]


async def test_ranges_whose_rows_were_deleted_vanish_and_the_next_is_tried(rig: Rig) -> None:
    for first in (1, 101, 201):
        await rig.insert(range(first, first + 10))
    await rig.owner.execute(f"DELETE FROM {rig.table.name} WHERE {rig.table.key} < 200")
    worker = await rig.worker()
    assert keys_of(await worker.claim(5)) == [201, 202, 203, 204, 205]
    assert await rig.ranges() == [(206, 210, 5)]
    assert [batch.claimed for batch in await rig.batches()] == [5]


async def test_a_range_of_which_rows_were_deleted_is_split_where_it_is_too_long(rig: Rig) -> None:
    await rig.insert(range(1, 21))
    await rig.owner.execute(f"DELETE FROM {rig.table.name} WHERE {rig.table.key} % 2 = 0")
    worker = await rig.worker()
    assert keys_of(await worker.claim(6)) == [1, 3, 5, 7, 9, 11]
    assert keys_of(await worker.claim(6)) == [13, 15, 17, 19]
    assert await worker.claim(6) is None
    assert await rig.claimable() == 0


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([3, 900, 30_000, 1_999_999, 2_000_000, 2_000_000_000], id="sparse"),
        pytest.param([-2_000_000_000, -1_000_001, -20_001, -20_000, -1, 0, 1, 19_999], id="negative"),
        pytest.param([7 * step - 3 for step in range(-100, 100)], id="every seventh"),
    ],
)
async def test_any_keys_will_do(rig: Rig, keys: list[int]) -> None:
    await rig.insert(keys)
    worker = await rig.worker()
    batch = await worker.claim(1000)
    assert keys_of(batch) == sorted(keys)
    assert batch is not None
    assert await worker.close(batch) == len(keys)
    assert await rig.claimable() == len(keys)
    assert await rig.drain(worker, 50) == len(keys)


async def test_keys_like_snowflakes_will_do(users: Rig) -> None:
    keys = [(1_288_834_974_657 + milliseconds << 22) + 4096 for milliseconds in range(0, 50_000, 100)]
    edges = [-(2**63), -(2**63) + 1, 2**63 - 1]
    await users.insert(keys + edges)
    worker = await users.worker()
    batch = await worker.claim(300)
    assert len(keys_of(batch)) == 300
    assert batch is not None
    await worker.settle(batch, [], failures(batch, 60))
    await worker.close(batch)
    await users.make_due()
    assert await users.drain(worker) == len(keys) + len(edges)
    assert await users.owner.fetchval("SELECT users_queue_rebuild()") == 0


async def test_a_claim_reads_no_more_than_it_can_in_a_second_for_rows_that_lie_far_apart(users: Rig) -> None:
    keys = list(range(0, 4_000_000, 10_000))
    await users.owner.execute("""
INSERT INTO users (id, next_attempt_at, batch_id) SELECT id, '2020-01-01', 1
FROM generate_series(0, 3999999, 10000) AS id;
DELETE FROM users_queue;
INSERT INTO users_queue (lo, hi, claimable, next_attempt_at, from_batch)
SELECT lo, hi, claimable, '2020-01-01', 1 FROM batch_ranges(ARRAY(SELECT id FROM users))""")
    assert [claimable for _, _, claimable in await users.ranges()] == [100, 100, 100, 100]
    worker = await users.worker()
    claims = [keys_of(await worker.claim(20_000)) for _ in range(3)]
    assert max(map(len, claims)) == 200
    assert list(itertools.chain(*claims)) == keys


async def test_a_worker_that_is_cancelled_in_any_moment_of_a_claim_leaves_the_queue_in_order(rig: Rig) -> None:
    await rig.insert(range(1, 200))
    worker = await rig.worker(connections=1)
    for turns in range(1, 60):
        claim = asyncio.create_task(worker.claim(3))
        for _ in range(turns):
            await asyncio.sleep(0)
        claim.cancel()
        await asyncio.gather(claim, return_exceptions=True)
    await rig.expire_leases()
    while await worker.recover() is not None:
        pass
    assert await rig.claimable() == await rig.counted() == 199
    assert await rig.drain(worker) == 199


async def test_a_batch_is_opened_with_pod_and_lease(rig: Rig) -> None:
    await rig.insert([1])
    await (await rig.worker("pod-7", lease_s=42)).claim(10)
    [opened] = await rig.owner.fetch("""
SELECT batch_name, pod_name, status, finished_at, claimed, extract(epoch FROM lease_expires_at - started_at)::float8
FROM batch_jobs""")
    assert tuple(opened)[:5] == (rig.table.batch_name, "pod-7", "running", None, 1)
    assert opened[5] == pytest.approx(42, abs=1)


async def test_a_table_without_a_queue_is_refused_in_one_line(own_users: Rig) -> None:
    await own_users.owner.execute("CREATE TABLE others (id bigint PRIMARY KEY)")
    with pytest.raises(Misconfigured, match=r"no claim queue on others; apply the job's schema first"):
        await own_users.worker(table=ClaimTable("others", "others"))


async def test_a_column_that_is_not_there_is_named(users: Rig) -> None:
    with pytest.raises(Misconfigured, match="users has no column nickname, phone; apply the job's schema first"):
        await users.worker(table=ClaimTable("users-batch", "users", "id", ("nickname",), ("phone",)))


async def test_an_array_cannot_be_written_and_the_worker_says_so_at_once(own_users: Rig) -> None:
    await own_users.owner.execute("ALTER TABLE users ADD COLUMN tags text[]")
    with pytest.raises(Misconfigured, match=r"cannot write users\.tags: arrays are not supported"):
        await own_users.worker(table=ClaimTable("users-batch", "users", "id", (), ("tags",)))
