"""Workers that wait for new rows."""

from __future__ import annotations

from functools import partial

from stack import until

from .parcels import Parcels
from .workers import Start


async def has_completed(parcels: Parcels, rows: int) -> bool:
    return await parcels.statuses() == {"completed": rows}


async def test_a_worker_that_has_had_rows_waits_for_new_ones(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=1)
    worker = start(IDLE_S="600")

    for rows in (1, 2, 3):
        await until(partial(has_completed, parcels, rows))
        await parcels.insert(fine=1)
    await until(partial(has_completed, parcels, 4))
    assert {batch["pod_name"] for batch in await parcels.batches()} == {"pod-0"}
    assert await worker.terminate() == 0


async def test_a_worker_without_any_row_waits_for_none(parcels: Parcels, start: Start) -> None:
    assert await start(IDLE_S="600").finish() == 0
    assert await parcels.batches() == []
