"""The number by which KEDA starts workers equals a full count of the users at every moment."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from stack import until

from . import fake_worker
from .conftest import NewFleet
from .fake_worker import FakeWorker
from .queue_view import Moment, QueueView

CLAIM_SIZE = 2_000
KINDS = ("pending", "due_again", "orphaned", "resting")


@pytest.fixture
async def job(queue: QueueView, tmp_path: Path) -> FakeWorker:
    """Create the queue of the fake worker."""
    await queue.make(fake_worker.TABLE)
    return FakeWorker(tmp_path / "job")


@pytest.mark.slow
async def test_it_agrees_with_a_full_count_at_every_moment_of_an_interrupted_run(
    queue: QueueView, new_fleet: NewFleet, job: FakeWorker, full_size: bool
) -> None:
    least = 300 if full_size else 120
    fleet = new_fleet(fake_worker.JOB, CLAIM_SIZE=str(CLAIM_SIZE), LEASE_S="1", RETRY_STEP_S="1", **job.environment)
    rng = random.Random(4)
    moments: list[Moment] = []

    async def interrupt() -> None:
        workers = [worker for worker in fleet.alive if worker.pod in await queue.holders()]
        match rng.choice(("kill", "kill", "stop", "insert", "insert")):
            case "insert":
                await fake_worker.insert(queue, fine=4_000, refused=200, fails=200, fails_once=400, slow=600)
            case "kill" if workers:
                await fleet.kill(rng.choice(workers))
            case "stop" if workers:
                rng.choice(workers).signal(signal.SIGTERM)

    def enough() -> bool:
        seen = [kind for kind in KINDS if any(getattr(moment, kind) for moment in moments)]
        return len(moments) >= least and len(seen) == len(KINDS) and len(fleet.killed) > 0

    async def done() -> bool:
        if not enough() and rng.random() < 0.1:
            await interrupt()
        await fleet.scale(3, CLAIM_SIZE)
        moment = await queue.moment()
        assert moment.claimable == moment.counted, moment
        moments.append(moment)
        return enough() and await queue.is_done()

    await until(done)
    await fleet.finish()
    assert await queue.claimable() == 0


async def test_completed_and_permanently_failed_rows_are_never_counted(
    queue: QueueView, new_fleet: NewFleet, job: FakeWorker
) -> None:
    await fake_worker.insert(queue, fine=30, refused=20, fails=10)
    assert await queue.claimable() == 60
    fleet = new_fleet(fake_worker.JOB, MAX_ATTEMPTS="1", **job.environment)
    await fleet.add()
    await fleet.finish()
    states = await queue.owner.fetch("SELECT batch_status, count(*) FROM users GROUP BY 1 ORDER BY 1")
    assert [tuple(state) for state in states] == [("completed", 30), ("failed", 30)]
    assert await queue.claimable() == 0


@pytest.mark.slow
async def test_a_dead_workers_rows_are_counted_once_its_lease_expired(
    queue: QueueView, new_fleet: NewFleet, job: FakeWorker
) -> None:
    await fake_worker.insert(queue, fine=3_000, waits=1_000)
    fleet = new_fleet(fake_worker.JOB, LEASE_S="3", **job.environment)
    only = await fleet.add()
    seen: dict[bool, set[int]] = {False: set(), True: set()}

    async def only_waiting_rows_are_left() -> bool:
        return await queue.settled_rows() == 3_000

    async def its_lease_expired() -> bool:
        # One statement, so that both values are of one moment.
        moment = await queue.one(
            "SELECT rows, lease_expires_at <= now() AS expired FROM keda_jobs.users_claimable, batch_jobs"
        )
        seen[moment["expired"]].add(moment["rows"])
        return bool(moment["expired"])

    await until(only_waiting_rows_are_left)
    await fleet.kill(only)
    await until(its_lease_expired)
    assert seen == {False: {0}, True: {1_000}}

    job.open_gate()
    await fleet.add()
    await until(queue.is_done)
    await fleet.finish()
    assert await queue.claimable() == 0
    assert await queue.owner.fetchval("SELECT count(*) FROM users WHERE batch_status = 'completed'") == 4_000
