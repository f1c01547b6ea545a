"""Batch job under test: it enters the number of each row in the ledger. A row's name has number and fate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from faults.campaign.orders import Fate, enter

from keda_jobs import Permanent, Transient, run
from keda_jobs.batch import BatchContext, BatchSettings, batch_job


class User(NamedTuple):
    """Columns that are read."""

    name: str
    attempts: int


class Settings(BatchSettings):
    """Settings with the ledger."""

    ledger: Path


async def enter_row(user: User, job: BatchContext[Settings]) -> None:
    """Enter the row, unless its fate is another one."""
    number, _, fate = user.name.partition(" ")
    match Fate(fate):
        case Fate.REFUSED | Fate.HOPELESS:
            raise Permanent("refused on purpose")
        case Fate.FAILS_ONCE if user.attempts == 0:
            raise Transient("fails once on purpose")
        case Fate.SLOW:
            await asyncio.sleep(0.1)
    enter(job.settings.ledger, int(number))


if __name__ == "__main__":
    run(batch_job(enter_row, Settings, table="users"))
