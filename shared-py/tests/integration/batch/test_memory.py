"""The memory of a worker does not grow with the number of its batches."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import tracemalloc
from pathlib import Path

from keda_jobs.batch import BatchContext
from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.row_runner import RowRunner
from keda_jobs.batch.worker import Worker
from keda_jobs.claims import ClaimQueue
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import open_pool
from keda_jobs.runtime.cpu import CpuPool
from keda_jobs.runtime.shutdown import Shutdown

from .parcels import JOB as NAME
from .parcels import Parcels
from .scripted_batch.job import JOB, Settings

_BATCHES = 80


class Memory(BatchMetrics):
    """Metrics that record the allocated memory after every tenth batch."""

    def __init__(self) -> None:
        super().__init__(JOB.name)
        self.sizes: list[int] = []
        self._seen = 0

    def record_batch(self, outcome: str) -> None:
        super().record_batch(outcome)
        self._seen += 1
        if self._seen % 10 == 0:
            gc.collect()
            self.sizes.append(tracemalloc.get_traced_memory()[0])


async def test_memory_is_flat(parcels: Parcels, tmp_path: Path) -> None:
    await parcels.insert(fine=_BATCHES * 20)
    settings = Settings.model_validate(
        {"pg_dsn": parcels.dsn, "claim_size": 20, "gate": tmp_path / "gate", "runs": tmp_path / "runs"}
    )
    memory, shutdown, policy = Memory(), Shutdown(0), RetryPolicy(3, 60)
    async with open_pool(settings, name="memory", connections=4, call_s=30) as connections:
        table = dataclasses.replace(JOB.table, batch_name=NAME)  # its package has another name here
        queue = await ClaimQueue.bind(connections, table, pod_name="here", lease_s=60, call_s=30, policy=policy)
        runner = RowRunner(JOB.handler, BatchContext(settings, CpuPool(), None), policy, shutdown)
        tracemalloc.start()
        try:
            await Worker(queue, runner, settings, memory, shutdown).run()
        finally:
            tracemalloc.stop()
    await asyncio.sleep(0)  # the loop closes the sockets in its next turn
    assert len(memory.sizes) == _BATCHES // 10
    # A leaked row would be a hundred bytes or more, and forty batches are eight hundred rows.
    assert memory.sizes[-1] - memory.sizes[3] < 20_000
