"""Hold of a whole queue: while it lasts nothing is claimable, for workers and for the scaler."""

from __future__ import annotations

import pytest

from keda_jobs.claims.rows import QueueHold
from stack import until

from .harness import QueueHarness, failures

_QUOTA = QueueHold(600, "PlatformError: quota used up")


async def end_hold(queue: QueueHarness) -> None:
    await queue.owner.execute(f"UPDATE {queue.table.queue}_holds SET held_until = now()")


async def test_scaler_and_claims_see_nothing_during_a_hold(queue: QueueHarness) -> None:
    """Windows, lists, due retries and the rows of a dead worker are all held, and none of them counts a try."""
    dead, asking, other = [await queue.worker(pod) for pod in ("dead", "asking", "other")]
    await queue.insert([*range(1, 50), *range(100, 10_000, 100)])
    batch = await dead.claim(20)
    assert batch
    await dead.settle(batch, [], failures(batch, 0.0, [row.key for row in batch.rows[:5]]))
    await queue.expire_leases()
    columns = f"{queue.table.sql_key}, attempts"
    attempts = await queue.rows(columns)
    scaler = await queue.scaler()

    async def seen() -> int:
        return int(await scaler.fetchval(f"SELECT rows FROM {queue.table.claimable}"))

    before = await seen()
    assert before == len(attempts) == await queue.recount()
    await asking.hold(_QUOTA)
    for worker in (asking, other):
        assert await seen() == await worker.claimable() == 0
        assert await worker.claim(1000) is None
        assert await worker.recover() is None
        hold = await worker.held()
        assert hold is not None
        assert 0 < hold.delay_s <= _QUOTA.delay_s
        assert hold.reason == _QUOTA.reason

    await end_hold(queue)
    assert await seen() == before
    assert await other.held() is None
    assert await queue.rows(columns) == attempts
    assert await other.recover() == 15
    assert await queue.drain(other) == before


async def test_it_ends_by_itself(users: QueueHarness) -> None:
    worker = await users.worker()
    await users.insert([1, 2])
    await worker.hold(QueueHold(0.2, "soon"))

    async def drained() -> bool:
        return await users.drain(worker) == 2

    await until(drained)


async def test_writes_of_a_batch_tell_of_a_hold(users: QueueHarness) -> None:
    holding, asking = await users.worker("holding"), await users.worker("asking")
    told: list[QueueHold] = []
    holding.on_hold = told.append
    await users.insert(range(1, 4))
    batch = await holding.claim(3)
    assert batch
    await holding.renew(batch)
    assert told == []
    await asking.hold(_QUOTA)
    await holding.renew(batch)
    await holding.settle(batch, users.results(batch.rows[:1]), ())
    await holding.close(batch)
    assert [hold.reason for hold in told] == [_QUOTA.reason] * 3
    assert all(0 < hold.delay_s <= 600 for hold in told)
    assert await users.statuses() == {"completed": 1, "pending": 2}


@pytest.mark.parametrize(("delay", "most_s"), [("1e12", 86400), ("Infinity", 86400), ("NaN", 86400), ("-1e12", 0)])
async def test_a_hold_lasts_a_day_at_most(users: QueueHarness, delay: str, most_s: float) -> None:
    worker = await users.connect("users_worker")
    await worker.execute(f"SELECT keda_jobs.users_queue_hold('{delay}', repeat('x', 1000))")
    [(lasts_s, length)] = await users.owner.fetch(
        "SELECT extract(epoch FROM held_until - now())::float8, length(reason) FROM keda_jobs.users_queue_holds"
    )
    assert most_s - 600 < lasts_s <= most_s + 1
    assert length == 500


async def test_no_other_hold_is_shortened(users: QueueHarness) -> None:
    worker = await users.worker()
    for hold in (_QUOTA, QueueHold(5, "busy")):
        await worker.hold(hold)
    assert (await worker.held() or _QUOTA)[1] == _QUOTA.reason
    await worker.hold(QueueHold(3600, "longer"))
    assert (await worker.held() or _QUOTA)[1] == "longer"
