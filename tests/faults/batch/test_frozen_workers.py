"""Workers that freeze for longer than their lease, and then continue."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from faults.waiting import came_true
from stack import until
from users_batch.job import JOB

from . import fake_worker
from .conftest import NewFleet
from .fleet import Worker
from .ledger import Ledger
from .queue_view import QueueView
from .seeding import count_misjudged, insert, seed

pytestmark = pytest.mark.slow

CLAIM_SIZE = 5_000
LEASE_LOST = "the lease of {} s expired"


async def test_a_worker_writes_no_row_of_its_batch_after_its_lease_expired(
    queue: QueueView, new_fleet: NewFleet, tmp_path: Path
) -> None:
    await queue.make(fake_worker.TABLE)
    ledger = Ledger(queue)
    await ledger.open()
    await fake_worker.insert(queue, fine=3_000, waits=1_000)
    job = fake_worker.FakeWorker(tmp_path / "job")
    fleet = new_fleet(fake_worker.JOB, LEASE_S="2", **job.environment)
    frozen = await fleet.add()

    async def only_waiting_rows_are_left() -> bool:
        return await queue.settled_rows() == 3_000

    async def others_have_processed_them() -> bool:
        await fleet.scale(2, CLAIM_SIZE)
        return await queue.is_done()

    await until(only_waiting_rows_are_left)
    frozen.signal(signal.SIGSTOP)
    job.open_gate()
    await until(others_have_processed_them)
    entries = await ledger.entries()
    frozen.signal(signal.SIGCONT)
    await fleet.finish()
    assert frozen.has_logged(LEASE_LOST.format(2))
    assert await ledger.entries() == entries
    assert len(entries) == len({entry["user_id"] for entry in entries}) == 4_000
    [batch] = await queue.owner.fetch("SELECT * FROM batch_jobs WHERE pod_name = $1", frozen.pod)
    assert (batch["status"], batch["completed"], batch["returned"]) == ("abandoned", 3_000, 1_000)


async def can_be_taken_over(queue: QueueView, worker: Worker) -> bool:
    """Return whether it holds a batch and no transaction that keeps others from it."""
    return bool(
        await queue.owner.fetch(
            "SELECT FROM keda_jobs.batch_jobs WHERE pod_name = $1 AND status = 'running' FOR UPDATE SKIP LOCKED",
            worker.pod,
        )
    )


async def its_lease_expired(queue: QueueView, worker: Worker) -> bool:
    """Return whether others may take its rows."""
    return not await queue.owner.fetchval(
        "SELECT EXISTS (SELECT FROM keda_jobs.batch_jobs WHERE pod_name = $1 AND lease_expires_at > clock_timestamp())",
        worker.pod,
    )


@pytest.mark.timeout(400)
async def test_no_row_is_lost_or_done_twice_while_workers_freeze_at_any_moment(
    queue: QueueView, new_fleet: NewFleet, full_size: bool
) -> None:
    rows = 800_000 if full_size else 200_000
    await seed(queue, rows)
    ledger = Ledger(queue)
    await ledger.open()
    fleet = new_fleet(JOB.name, CLAIM_SIZE=str(CLAIM_SIZE), LEASE_S="1", RETRY_STEP_S="1")
    rng = random.Random(4)

    async def done() -> bool:
        nonlocal rows
        await fleet.scale(3, CLAIM_SIZE)
        if not await queue.is_done():
            return False
        if any(worker.has_logged(LEASE_LOST.format(1)) for worker in fleet.workers):
            return True
        # The workers had finished before one froze with a batch that others recovered.
        await insert(queue, rows + 1, rows + 6 * CLAIM_SIZE)
        rows += 6 * CLAIM_SIZE
        return False

    async def others_have_its_rows(worker: Worker) -> bool:
        await fleet.scale(3, CLAIM_SIZE)
        return worker.pod not in await queue.holders()

    # It continues when others have long taken its rows, or at the very moment when they may.
    moments: list[Callable[[Worker], Awaitable[bool]]] = [others_have_its_rows, partial(its_lease_expired, queue)]
    each_moment = itertools.cycle(moments)

    async def freeze(worker: Worker) -> None:
        worker.signal(signal.SIGSTOP)
        if await can_be_taken_over(queue, worker):
            await came_true(partial(next(each_moment), worker), within_s=10)
        elif rng.random() < 0.1:
            await until(partial(its_lease_expired, queue, worker))
        worker.signal(signal.SIGCONT)

    async with asyncio.timeout(300):
        while not await came_true(done, within_s=rng.uniform(0.01, 0.2)):
            holders = await queue.holders()
            at_work = [worker for worker in fleet.alive if worker.pod in holders]
            if at_work:
                await freeze(rng.choice(at_work))
    await fleet.finish()

    run = await ledger.balances(rows, rows // 15)
    assert await count_misjudged(queue) == 0
    assert run.abandoned > 0
