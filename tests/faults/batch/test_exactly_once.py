"""Four workers process each of many rows exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack import until
from users_batch.job import JOB

from .conftest import NewFleet
from .ledger import Ledger
from .queue_view import QueueView
from .seeding import seed_by_tool

pytestmark = pytest.mark.slow

WORKERS = 4


async def test_four_workers_process_each_of_many_rows_exactly_once(
    queue: QueueView, new_fleet: NewFleet, tmp_path: Path, full_size: bool
) -> None:
    rows = 1_000_000 if full_size else 300_000
    invalid = await seed_by_tool(queue, rows, tmp_path / "seed")
    assert invalid > 0
    assert await queue.claimable() == rows
    ledger = Ledger(queue)
    await ledger.open()

    fleet = new_fleet(JOB.name)
    for _ in range(WORKERS):
        await fleet.add()
    await until(queue.is_done)
    await fleet.finish()

    run = await ledger.balances(rows, invalid)
    assert (run.abandoned, run.returned) == (0, 0)
    assert len(await queue.pods()) == WORKERS
