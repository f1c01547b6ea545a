"""Rows that are given back by a worker that closes its batch, and recovered from one that died."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from keda_jobs.claims import Batch, ClaimQueue, SettledRows

from .harness import BatchRow, QueueHarness, batch_keys, failures


async def claim_new(queue: QueueHarness, number: int) -> tuple[ClaimQueue, Batch]:
    await queue.insert(range(1, number + 1))
    worker = await queue.worker()
    batch = await worker.claim(number)
    assert batch is not None
    return worker, replace(batch, rows=sorted(batch.rows))


async def test_closing_gives_unsettled_rows_back_unchanged(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 10)
    await worker.settle(batch, queue.results(batch.rows[:4]), failures(batch, None, [5]))
    assert await worker.close(batch) == 5
    assert await queue.rows("batch_status, attempts", "batch_status = 'pending'") == [("pending", 0)] * 5
    assert await queue.claimable() == await queue.recount() == 5
    assert batch_keys(await worker.claim(100)) == [6, 7, 8, 9, 10]
    closed = (await queue.batches())[0]
    assert closed == BatchRow("completed", 10, 4, 1, 1, 5, None)
    assert closed.adds_up


async def test_rows_given_back_from_many_ranges_are_claimable_again(queue: QueueHarness) -> None:
    for key in (*range(1, 40, 3), 100_000, 100_001, 5_000_000):
        await queue.insert([key])
    worker = await queue.worker()
    batch = await worker.claim(100)
    assert batch is not None
    assert await worker.close(batch) == 16
    assert await queue.ranges() == [(1, 5_000_000, 16)]
    assert batch_keys(await worker.claim(100)) == await queue.keys()


async def test_closing_with_an_error_records_that_the_batch_failed_and_why(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 2)
    assert await worker.close(batch, "RuntimeError: no more memory") == 2
    assert await queue.batches() == [BatchRow("failed", 2, 0, 0, 0, 2, "RuntimeError: no more memory")]
    assert await queue.owner.fetchval("SELECT finished_at IS NOT NULL FROM batch_jobs")


async def test_a_batch_with_a_running_lease_is_not_recovered(queue: QueueHarness) -> None:
    await claim_new(queue, 3)
    assert await (await queue.worker("pod-2")).recover() is None
    assert await queue.claimable() == 0


async def test_a_dead_workers_rows_are_counted_and_recovered_once_its_lease_expired(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 10)
    await worker.settle(batch, queue.results(batch.rows[:4]), failures(batch, 60, [5]))
    assert await queue.claimable() == await queue.recount() == 0
    await queue.expire_leases()
    assert await queue.claimable() == await queue.recount() == 5
    other = await queue.worker("pod-2")
    assert await other.recover() == 5
    assert await other.recover() is None
    assert await queue.claimable() == await queue.recount() == 5
    assert await queue.batches() == [BatchRow("abandoned", 10, 4, 1, 0, 5, "the lease of pod-1 expired")]


async def test_recovery_keeps_the_last_heartbeat_of_a_dead_worker(queue: QueueHarness) -> None:
    await claim_new(queue, 1)
    await queue.owner.execute(
        "UPDATE keda_jobs.batch_jobs SET lease_expires_at = '2020-01-01', heartbeat_at = '2020-01-01'"
    )
    await (await queue.worker("pod-2")).recover()
    assert await queue.owner.fetchval("SELECT heartbeat_at = '2020-01-01' FROM batch_jobs")


async def test_a_worker_that_dies_right_after_its_last_row_leaves_no_open_batch(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 3)
    done = queue.results(batch.rows)
    await worker.settle(batch, done[:1], [])
    await worker.settle(batch, done[1:], [])
    assert await queue.batches() == [BatchRow("completed", 3, 3, 0, 0, 0, None)]
    assert await queue.owner.fetchval(f"SELECT count(*) FROM {queue.table.queue}") == 0
    await queue.expire_leases()
    assert await queue.claimable() == await queue.recount() == 0
    assert await (await queue.worker("pod-2")).recover() is None


async def test_calls_on_a_batch_that_closed_with_its_last_row_do_nothing(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 2)
    done = queue.results(batch.rows)
    await worker.settle(batch, done, [])
    assert await worker.settle(batch, done, []) == SettledRows()
    await worker.renew(batch)
    assert await worker.close(batch) == 0
    assert await queue.batches() == [BatchRow("completed", 2, 2, 0, 0, 0, None)]


async def test_closing_twice_and_settling_after_it_change_nothing(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 3)
    assert await worker.close(batch) == 3
    assert await worker.close(batch) == 0
    assert await worker.settle(batch, queue.results(batch.rows), []) == SettledRows()
    assert await queue.batches() == [BatchRow("completed", 3, 0, 0, 0, 3, None)]
    assert await queue.claimable() == await queue.recount() == 3


async def test_a_batch_whose_last_rows_were_deleted_is_closed_by_recovery(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 3)
    await worker.settle(batch, [queue.example.completed(batch.rows[0])], [])
    await queue.owner.execute(f"DELETE FROM {queue.table.name} WHERE {queue.table.key} > 1")
    await queue.expire_leases()
    assert await queue.claimable() == await queue.recount() == 0
    assert await worker.recover() == 0
    assert await queue.batches() == [BatchRow("abandoned", 3, 1, 0, 0, 2, "the lease of pod-1 expired")]


async def die_over_them_again(queue: QueueHarness, worker: ClaimQueue) -> None:
    """Let the rows of a dead worker be the death of another one."""
    await queue.expire_leases()
    await worker.recover()
    assert await worker.claim(1000) is not None
    await queue.expire_leases()
    await worker.recover()


async def test_a_dead_workers_rows_are_claimed_alone_and_at_once(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 160)
    await queue.insert(range(1001, 1011))
    await queue.expire_leases()
    assert await worker.recover() == 160
    claims = []
    while (claimed := await worker.claim(1000)) is not None:
        claims.append(batch_keys(claimed))
    assert sorted(claims) == [batch_keys(batch), list(range(1001, 1011))]


async def test_rows_over_which_two_workers_died_come_back_in_sixteen_parts(queue: QueueHarness) -> None:
    worker, _ = await claim_new(queue, 160)
    await die_over_them_again(queue, worker)
    await queue.insert(range(1001, 1011))
    claims = []
    while (batch := await worker.claim(1000)) is not None:
        claims.append(batch_keys(batch))
    assert sorted(map(len, claims)) == [10] * 17
    assert list(range(1001, 1011)) in claims


async def test_a_part_that_is_given_back_or_fails_stays_a_part(queue: QueueHarness) -> None:
    worker, _ = await claim_new(queue, 32)
    await die_over_them_again(queue, worker)
    part = await worker.claim(1000)
    assert part is not None
    await worker.settle(part, [], failures(part, 60, batch_keys(part)[:1]))
    await worker.close(part)
    await queue.make_due()
    sizes = []
    while (batch := await worker.claim(1000)) is not None:
        sizes.append(len(batch.rows))
    assert sorted(sizes) == [1, 1] + [2] * 15


async def die_over_what_is_claimed(queue: QueueHarness, worker: ClaimQueue, deadly: int) -> int:
    """Claim and complete until nothing is left, dying over the deadly row. Return the number of deaths."""
    deaths = 0
    while True:
        while await worker.recover() is not None:
            pass
        await queue.make_due()
        batch = await worker.claim(20_000)
        if batch is None:
            return deaths
        if deadly in batch_keys(batch):
            deaths += 1
            await queue.expire_leases()
        else:
            await queue.settle_all(worker, batch)


async def test_a_row_that_kills_every_worker_is_isolated_and_fails_permanently_at_the_limit(
    queue: QueueHarness,
) -> None:
    await queue.insert(range(1, 1001))
    worker = await queue.worker(max_attempts=3)
    deaths = await die_over_what_is_claimed(queue, worker, deadly=500)
    assert deaths == 4 + 3  # 1000 → 1000 → 63 → 4 → alone, three times
    assert await queue.statuses() == {"completed": 999, "failed": 1}
    [deadly] = await queue.rows("attempts, error, next_attempt_at = 'infinity'", f"{queue.table.key} = 500")
    assert deadly[0] == 3
    assert deadly[1].startswith("WorkerDied: ")
    assert deadly[2]
    assert await queue.claimable() == await queue.recount() == 0
    assert all(batch.adds_up for batch in await queue.batches())


async def test_a_row_that_killed_its_worker_alone_waits_for_a_retry(queue: QueueHarness) -> None:
    worker, _ = await claim_new(queue, 1)
    await queue.expire_leases()
    assert await worker.recover() == 1
    suspect = await worker.claim(10)
    assert suspect is not None
    assert suspect.is_suspect
    await queue.expire_leases()
    assert await worker.recover() == 1
    assert await worker.claim(10) is None
    [row] = await queue.rows("attempts, batch_status, next_attempt_at BETWEEN now() AND now() + '1 minute'")
    assert row == (1, "failed", True)
    assert await queue.batches() == [
        BatchRow("abandoned", 1, 0, 0, 0, 1, "the lease of pod-1 expired"),
        BatchRow("abandoned", 1, 0, 1, 0, 0, "the lease of pod-1 expired"),
    ]


async def test_the_last_row_of_a_dead_workers_batch_is_not_at_fault(queue: QueueHarness) -> None:
    worker, batch = await claim_new(queue, 10)
    await worker.settle(batch, queue.results(batch.rows[:9]), [])
    await queue.expire_leases()
    assert await worker.recover() == 1
    assert await queue.rows("batch_status, attempts", "batch_status <> 'completed'") == [("pending", 0)]


async def test_suspect_rows_are_not_claimed_beside_others(queue: QueueHarness) -> None:
    worker, _ = await claim_new(queue, 1)
    await queue.expire_leases()
    await worker.recover()
    await queue.insert(range(101, 111))
    assert await worker.claim(5, suspects=False) is None
    assert batch_keys(await worker.claim(5)) == [1]
    assert batch_keys(await worker.claim(5, suspects=False)) == [101, 102, 103, 104, 105]


async def test_recovering_a_single_row_that_was_deleted_works(queue: QueueHarness) -> None:
    worker, _ = await claim_new(queue, 1)
    await queue.owner.execute(f"DELETE FROM {queue.table.name}")
    await queue.expire_leases()
    await worker.recover()
    assert await worker.recover() is None
    assert await queue.claimable() == await queue.recount() == 0


async def test_concurrent_recoveries_take_every_expired_batch_once(queue: QueueHarness) -> None:
    await queue.insert(range(1, 101))
    worker = await queue.worker(connections=8)
    for _ in range(10):
        await worker.claim(10)
    await queue.expire_leases()

    async def recover_all() -> int:
        number = 0
        while await worker.recover() is not None:
            number += 1
        return number

    assert sum(await asyncio.gather(*(recover_all() for _ in range(8)))) == 10
    assert await queue.claimable() == await queue.recount() == 100
    assert {(row.status, row.returned) for row in await queue.batches()} == {("abandoned", 10)}


async def test_a_batch_renewed_just_in_time_is_not_recovered(queue: QueueHarness) -> None:
    worker, _ = await claim_new(queue, 3)
    beating = await queue.connect()
    await queue.expire_leases()
    async with beating.transaction():
        await beating.execute("UPDATE keda_jobs.batch_jobs SET lease_expires_at = now() + '1 minute'")
        assert await worker.recover() is None
    assert await worker.recover() is None
