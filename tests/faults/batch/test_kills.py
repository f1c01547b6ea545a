"""Workers are killed and the server crashes: no row is lost and none ends twice."""

from __future__ import annotations

import random

import pytest

from stack import until
from users_batch.job import JOB

from .chaos import SPOTS, Crashes, Kills
from .conftest import NewFleet
from .ledger import Ledger
from .queue_view import QueueView
from .seeding import count_misjudged, insert, seed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

WORKERS = 4
CLAIM_SIZE = 20_000
# A worker takes a second to start, so more kills would leave no time to work.
PAUSES_S = (0.2, 1.8)


async def test_no_row_is_lost_or_done_twice_while_workers_are_killed_and_the_server_crashes(
    queue: QueueView, new_fleet: NewFleet, full_size: bool
) -> None:
    rows = 1_000_000 if full_size else 300_000
    await seed(queue, rows)
    ledger = Ledger(queue)
    await ledger.open()
    fleet = new_fleet(JOB.name, CLAIM_SIZE=str(CLAIM_SIZE), LEASE_S="2", RETRY_STEP_S="1")
    kills = Kills(queue, fleet, random.Random(4), PAUSES_S)
    crashes = Crashes(queue, at=(rows // 3, rows * 2 // 3))

    async def done() -> bool:
        nonlocal rows
        await fleet.scale(WORKERS, CLAIM_SIZE)
        await kills.strike_when_due()
        await crashes.strike_when_due()
        if not await queue.is_done():
            return False
        if set(kills.hits) == set(SPOTS):
            return True
        # The workers had finished before one was killed at each spot.
        await insert(queue, rows + 1, rows + 3 * CLAIM_SIZE)
        rows += 3 * CLAIM_SIZE
        return False

    await until(done, deadline_s=300)
    await fleet.finish()

    run = await ledger.balances(rows, rows // 15)
    assert await count_misjudged(queue) == 0
    assert crashes.left == 0
    assert set(kills.hits) == set(SPOTS), kills.hits
    assert run.abandoned_half_done > 0
