"""The scaler's number equals a full count after any sequence of events."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from keda_jobs.claims import Batch, ClaimQueue, Failure, LeaseLost
from keda_jobs.claims.check import QueueCheck

from .harness import QueueHarness

_STEPS = 120


class Walk:
    """Random steps of applications, workers and people on one queue."""

    def __init__(self, queue: QueueHarness, worker: ClaimQueue, seed: int) -> None:
        self._queue = queue
        self._worker = worker
        self._random = random.Random(seed)
        self._next_key = 1
        self._held: list[tuple[Batch, list[int]]] = []

    async def step(self) -> str:
        """Take one step and return its name."""
        steps: list[tuple[int, Callable[[], Awaitable[object]]]] = [
            (3, self._insert), (5, self._claim), (8, self._settle), (3, self._close), (1, self._expire),
            (3, self._recover), (2, self._reset), (1, self._put_off), (1, self._give_up), (2, self._delete),
            (2, self._queue.make_due), (1, self._repair),
        ]  # fmt: skip
        [(_, step)] = self._random.choices(steps, [weight for weight, _ in steps])
        await step()
        return step.__name__

    async def finish(self) -> None:
        """Complete everything."""
        for batch, _ in self._held:
            await self._quietly(self._worker.close(batch))
        await self._queue.expire_leases()
        while True:
            while await self._worker.recover() is not None:
                pass
            await self._queue.owner.execute(
                f"UPDATE {self._queue.table.name} SET next_attempt_at = now()"
                " WHERE next_attempt_at > now() AND next_attempt_at < 'infinity'"
            )
            if not await self._queue.drain(self._worker):
                return

    def _some(self, keys: list[int]) -> list[int]:
        return self._random.sample(keys, self._random.randint(0, len(keys)))

    async def _insert(self) -> None:
        number, step = self._random.randint(1, 40), self._random.choice([1, 1, 3, 50_000])
        keys = range(self._next_key, self._next_key + number * step, step)
        self._next_key = keys[-1] + 1
        await self._queue.insert(keys)

    async def _claim(self) -> None:
        if batch := await self._worker.claim(self._random.randint(1, 40)):
            self._held.append((batch, [row.key for row in batch.rows]))

    async def _settle(self) -> None:
        if not self._held:
            return
        batch, left = self._random.choice(self._held)
        done = set(self._some(left))
        failed = self._some([key for key in left if key not in done])
        failures = [Failure(key, "it broke", self._random.choice([None, 5.0, 600.0, 1200.0])) for key in failed]
        rows = [self._queue.example.completed(row) for row in batch.rows if row.key in done]
        await self._quietly(self._worker.settle(batch, rows, failures))
        left[:] = [key for key in left if key not in done and key not in failed]

    async def _close(self) -> None:
        if self._held:
            batch, _ = self._held.pop(self._random.randrange(len(self._held)))
            await self._quietly(self._worker.close(batch))

    async def _quietly(self, call: Awaitable[object]) -> None:
        with suppress(LeaseLost):
            await call

    async def _expire(self) -> None:
        await self._queue.expire_leases()

    async def _recover(self) -> None:
        await self._worker.recover()

    async def _by_hand(self, change: str) -> None:
        keys = self._some(await self._queue.keys())[:8]
        table = self._queue.table
        await self._queue.owner.execute(f"UPDATE {table.name} SET {change} WHERE {table.key} = ANY($1)", keys)

    async def _reset(self) -> None:
        await self._by_hand("batch_status = 'pending'")

    async def _put_off(self) -> None:
        later = self._random.choice(["now()", "now() + interval '10 minutes'"])
        await self._by_hand(f"batch_status = 'pending', next_attempt_at = {later}")

    async def _give_up(self) -> None:
        await self._by_hand("batch_status = 'failed', next_attempt_at = 'infinity'")

    async def _delete(self) -> None:
        keys = self._some(await self._queue.keys())[:2]
        table = self._queue.table
        await self._queue.owner.execute(f"DELETE FROM {table.name} WHERE {table.key} = ANY($1)", keys)

    async def _repair(self) -> None:
        checks = QueueCheck(self._queue.owner, self._queue.table, repair=True).run(asyncio.Event())
        assert [step async for step in checks][-1].stranded_rows == 0


@pytest.mark.parametrize("seed", range(6))
async def test_the_scaler_sees_what_a_full_count_finds_after_every_step(users: QueueHarness, seed: int) -> None:
    walk = Walk(users, await users.worker(max_attempts=3), seed)
    taken = []
    for _ in range(_STEPS):
        taken.append(await walk.step())
        claimable, counted = await users.claimable_and_recount()
        assert claimable == counted, f"after {' '.join(taken)}"
    await walk.finish()
    assert await users.claimable() == await users.recount() == 0
    assert (await users.statuses()).keys() <= {"completed", "failed"}
    assert all(batch.adds_up for batch in await users.batches())
