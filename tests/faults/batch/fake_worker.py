"""Batch job for tests: the name of a row says what becomes of it."""

from __future__ import annotations

from pathlib import Path

from faults.processes import write_job
from keda_jobs.claims import ClaimTable

from .queue_view import QueueView

JOB = "fake-batch"
TABLE = ClaimTable(JOB, "users", reads=("name", "attempts"))

_SOURCE = """
import asyncio
from pathlib import Path
from typing import NamedTuple

from keda_jobs import Permanent, Transient, run
from keda_jobs.batch import BatchContext, BatchSettings, batch_job

GATE = Path({gate!r})


class User(NamedTuple):
    name: str
    attempts: int


async def act(user: User, _job: BatchContext[BatchSettings]) -> None:
    match user.name:
        case "refused":
            raise Permanent("refused")
        case "fails":
            raise Transient("fails")
        case "fails once" if user.attempts == 0:
            raise Transient("fails once")
        case "slow":
            await asyncio.sleep(0.02)
        case "waits":
            while not GATE.exists():
                await asyncio.sleep(0.02)


if __name__ == "__main__":
    run(batch_job(act, BatchSettings, table="users"))
"""


class FakeWorker:
    """Package of the job in `folder`. Waiting rows continue after `open_gate`."""

    def __init__(self, folder: Path) -> None:
        self._gate = folder / "gate"
        self.environment = write_job(folder, JOB.replace("-", "_"), _SOURCE.format(gate=str(self._gate)))

    def open_gate(self) -> None:
        """Let waiting rows continue, and every later one."""
        self._gate.touch()


async def insert(queue: QueueView, **rows: int) -> None:
    """Insert users with these names, in this order: `insert(queue, fine=10, fails_once=1)`."""
    for name, number in rows.items():
        await queue.owner.execute(
            "INSERT INTO users (name) SELECT $1 FROM generate_series(1, $2::int)", name.replace("_", " "), number
        )
