"""Rows that go back: from a worker that ends its batch, and from one that died over it."""

from __future__ import annotations

import asyncio

from keda_jobs.claims import Batch, ClaimQueue, SettledRows

from .rig import BatchRow, Rig, failures, keys_of


async def claimed(rig: Rig, number: int) -> tuple[ClaimQueue, Batch]:
    await rig.insert(range(1, number + 1))
    worker = await rig.worker()
    batch = await worker.claim(number)
    assert batch is not None
    return worker, Batch(batch.batch_id, sorted(batch.rows))


async def test_closing_gives_back_the_rows_in_hand_as_they_were(rig: Rig) -> None:
    worker, batch = await claimed(rig, 10)
    await worker.settle(batch, [rig.subject.done(row) for row in batch.rows[:4]], failures(batch, None, [5]))
    assert await worker.close(batch) == 5
    assert await rig.rows("batch_status, attempts", "batch_status = 'pending'") == [("pending", 0)] * 5
    assert await rig.claimable() == await rig.counted() == 5
    assert keys_of(await worker.claim(100)) == [6, 7, 8, 9, 10]
    closed = (await rig.batches())[0]
    assert closed == BatchRow("completed", 10, 4, 1, 1, 5, None)
    assert closed.adds_up


async def test_rows_given_back_of_many_ranges_are_claimable_again(rig: Rig) -> None:
    for key in (*range(1, 40, 3), 100_000, 100_001, 5_000_000):
        await rig.insert([key])
    worker = await rig.worker()
    batch = await worker.claim(100)
    assert batch is not None
    assert await worker.close(batch) == 16
    assert len(await rig.ranges()) == 3
    assert keys_of(await worker.claim(100)) == await rig.keys()


async def test_closing_with_an_error_says_that_the_batch_failed_and_why(rig: Rig) -> None:
    worker, batch = await claimed(rig, 2)
    assert await worker.close(batch, "RuntimeError: no more memory") == 2
    assert await rig.batches() == [BatchRow("failed", 2, 0, 0, 0, 2, "RuntimeError: no more memory")]
    assert await rig.owner.fetchval("SELECT finished_at IS NOT NULL FROM batch_jobs")


async def test_nobody_takes_the_batch_of_a_worker_that_gives_signs_of_life(rig: Rig) -> None:
    await claimed(rig, 3)
    assert await (await rig.worker("pod-2")).recover() is None
    assert await rig.claimable() == 0


async def test_rows_of_a_dead_worker_are_counted_once_its_lease_is_over_and_can_be_taken(rig: Rig) -> None:
    worker, batch = await claimed(rig, 10)
    await worker.settle(batch, [rig.subject.done(row) for row in batch.rows[:4]], failures(batch, 60, [5]))
    assert await rig.claimable() == await rig.counted() == 0
    await rig.expire_leases()
    assert await rig.claimable() == await rig.counted() == 5
    other = await rig.worker("pod-2")
    assert await other.recover() == 5
    assert await other.recover() is None
    assert await rig.claimable() == await rig.counted() == 5
    assert await rig.batches() == [BatchRow("abandoned", 10, 4, 1, 0, 5, "the lease of pod-1 expired")]


async def test_the_last_sign_of_life_of_a_dead_worker_stays_on_record(rig: Rig) -> None:
    await claimed(rig, 1)
    await rig.owner.execute("UPDATE batch_jobs SET lease_expires_at = '2020-01-01', heartbeat_at = '2020-01-01'")
    await (await rig.worker("pod-2")).recover()
    assert await rig.owner.fetchval("SELECT heartbeat_at = '2020-01-01' FROM batch_jobs")


async def test_a_worker_that_dies_right_after_its_last_row_leaves_no_open_batch(rig: Rig) -> None:
    worker, batch = await claimed(rig, 3)
    done = [rig.subject.done(row) for row in batch.rows]
    await worker.settle(batch, done[:1], [])
    await worker.settle(batch, done[1:], [])
    assert await rig.batches() == [BatchRow("completed", 3, 3, 0, 0, 0, None)]
    assert await rig.owner.fetchval(f"SELECT count(*) FROM {rig.table.queue}") == 0
    await rig.expire_leases()
    assert await rig.claimable() == await rig.counted() == 0
    assert await (await rig.worker("pod-2")).recover() is None


async def test_a_batch_that_closed_with_its_last_row_takes_the_rest_of_its_workers_calls(rig: Rig) -> None:
    worker, batch = await claimed(rig, 2)
    done = [rig.subject.done(row) for row in batch.rows]
    await worker.settle(batch, done, [])
    assert await worker.settle(batch, done, []) == SettledRows()
    await worker.renew(batch)
    assert await worker.close(batch) == 0
    assert await rig.batches() == [BatchRow("completed", 2, 2, 0, 0, 0, None)]


async def test_closing_twice_and_settling_after_it_change_nothing(rig: Rig) -> None:
    worker, batch = await claimed(rig, 3)
    assert await worker.close(batch) == 3
    assert await worker.close(batch) == 0
    assert await worker.settle(batch, [rig.subject.done(row) for row in batch.rows], []) == SettledRows()
    assert await rig.batches() == [BatchRow("completed", 3, 0, 0, 0, 3, None)]
    assert await rig.claimable() == await rig.counted() == 3


async def test_a_batch_whose_last_rows_were_deleted_is_closed_by_who_takes_it_over(rig: Rig) -> None:
    worker, batch = await claimed(rig, 3)
    await worker.settle(batch, [rig.subject.done(batch.rows[0])], [])
    await rig.owner.execute(f"DELETE FROM {rig.table.name} WHERE {rig.table.key} > 1")
    await rig.expire_leases()
    assert await worker.recover() == 2
    assert await rig.claimable() == await rig.counted() == 0
    assert await rig.batches() == [BatchRow("abandoned", 3, 1, 0, 0, 0, "the lease of pod-1 expired")]


async def test_a_dead_workers_rows_come_back_in_sixteen_parts_each_claimed_alone(rig: Rig) -> None:
    worker, _ = await claimed(rig, 160)
    await rig.insert(range(1001, 1011))
    await rig.expire_leases()
    assert await worker.recover() == 160
    claims = []
    while (batch := await worker.claim(1000)) is not None:
        claims.append(keys_of(batch))
    assert sorted(map(len, claims)) == [10] * 17
    assert list(range(1001, 1011)) in claims


async def test_a_part_that_is_given_back_or_fails_stays_a_part(rig: Rig) -> None:
    worker, _ = await claimed(rig, 32)
    await rig.expire_leases()
    await worker.recover()
    part = await worker.claim(1000)
    assert part is not None
    await worker.settle(part, [], failures(part, 60, keys_of(part)[:1]))
    await worker.close(part)
    await rig.make_due()
    sizes = []
    while (batch := await worker.claim(1000)) is not None:
        sizes.append(len(batch.rows))
    assert sorted(sizes) == [1, 1] + [2] * 15


async def die_over_what_is_claimed(rig: Rig, worker: ClaimQueue, deadly: int) -> int:
    """Claim and complete until nothing is left; die over every batch with the deadly row. The number of deaths."""
    deaths = 0
    while True:
        while await worker.recover() is not None:
            pass
        await rig.make_due()
        batch = await worker.claim(20_000)
        if batch is None:
            return deaths
        if deadly in keys_of(batch):
            deaths += 1
            await rig.expire_leases()
        else:
            await rig.settle_all(worker, batch)


async def test_a_row_that_kills_every_worker_is_cornered_tried_up_to_the_limit_and_given_up(rig: Rig) -> None:
    await rig.insert(range(1, 1001))
    worker = await rig.worker(max_attempts=3)
    deaths = await die_over_what_is_claimed(rig, worker, deadly=500)
    assert deaths == 3 + 3  # 1000 → 63 → 4 → alone, three times
    assert await rig.statuses() == {"completed": 999, "failed": 1}
    [deadly] = await rig.rows("attempts, error, next_attempt_at = 'infinity'", f"{rig.table.key} = 500")
    assert deadly[0] == 3
    assert deadly[1].startswith("WorkerDied: ")
    assert deadly[2]
    assert await rig.claimable() == await rig.counted() == 0
    assert all(batch.adds_up for batch in await rig.batches())


async def test_a_row_that_a_worker_died_over_alone_waits_like_any_failed_row(rig: Rig) -> None:
    worker, _ = await claimed(rig, 1)
    await rig.expire_leases()
    assert await worker.recover() == 1
    assert await worker.claim(10) is None
    [row] = await rig.rows("attempts, batch_status, next_attempt_at BETWEEN now() AND now() + '1 minute'")
    assert row == (1, "failed", True)
    assert await rig.batches() == [BatchRow("abandoned", 1, 0, 1, 0, 0, "the lease of pod-1 expired")]


async def test_a_single_row_that_was_deleted_meanwhile_is_no_trouble(rig: Rig) -> None:
    worker, _ = await claimed(rig, 1)
    await rig.owner.execute(f"DELETE FROM {rig.table.name}")
    await rig.expire_leases()
    await worker.recover()
    assert await worker.recover() is None
    assert await rig.claimable() == await rig.counted() == 0


async def test_every_expired_batch_is_taken_once_however_many_recover_at_a_time(rig: Rig) -> None:
    await rig.insert(range(1, 101))
    worker = await rig.worker(connections=8)
    for _ in range(10):
        await worker.claim(10)
    await rig.expire_leases()

    async def recover_all() -> int:
        number = 0
        while await worker.recover() is not None:
            number += 1
        return number

    assert sum(await asyncio.gather(*(recover_all() for _ in range(8)))) == 10
    assert await rig.claimable() == await rig.counted() == 100
    assert {(row.status, row.returned) for row in await rig.batches()} == {("abandoned", 10)}


async def test_a_batch_that_beats_again_just_in_time_is_not_taken(rig: Rig) -> None:
    worker, _ = await claimed(rig, 3)
    beating = await rig.connect()
    await rig.expire_leases()
    async with beating.transaction():
        await beating.execute("UPDATE batch_jobs SET lease_expires_at = now() + '1 minute'")
        assert await worker.recover() is None
    assert await worker.recover() is None
