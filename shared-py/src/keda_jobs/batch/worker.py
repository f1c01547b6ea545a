"""Worker loop: claim a batch and run it, until nothing is claimable."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from keda_jobs.batch.batch_run import BatchRun
from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.row_runner import RowRunner
from keda_jobs.claims.queue import ClaimQueue
from keda_jobs.claims.rows import Batch
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.runtime.backoff import SHORT_S, Backoff, retry_until
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.tracing import OFF, Tracer
from keda_jobs.settings import BatchSettings

# Pause while every claimable range is locked by other claims, which take about ten milliseconds.
_LOCKED_PAUSE_S = 0.05

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Worker:
    """Loop that claims and runs batches until nothing is claimable or a shutdown is requested."""

    queue: ClaimQueue
    runner: RowRunner
    settings: BatchSettings
    metrics: BatchMetrics
    shutdown: Shutdown
    tracer: Tracer = OFF
    backoff: Backoff = field(default_factory=lambda: Backoff(SHORT_S))
    has_claimed: bool = False

    async def run(self) -> None:
        """Run batches until nothing is claimable. Raises `DatabaseUnavailable`, `Misconfigured`."""
        while (batch := await self._claim()) is not None:
            self.has_claimed = True
            batch_run = BatchRun(
                self.queue, batch, self.runner, self.settings, self.metrics, self.shutdown, self.backoff
            )
            with self.tracer.batch(batch.batch_id, len(batch.rows)) as span:
                await batch_run.run(span)

    async def _claim(self) -> Batch | None:
        """Claim the next batch, if there is one. Raises `DatabaseUnavailable` after CLAIM_TIMEOUT_S."""
        deadline = time.monotonic() + self.settings.claim_timeout_s
        try:
            while not self.shutdown.requested:
                batch = await self._retry(self._recover_and_claim, deadline)
                if batch is not None or await self._retry(self.queue.claimable, deadline) == 0:
                    return batch
                if time.monotonic() > deadline:
                    raise DatabaseUnavailable("every claimable row is locked by another transaction")
                log.debug("every claimable row is locked by another transaction, trying again")
                await self.shutdown.sleep(_LOCKED_PAUSE_S * random.uniform(0.5, 1.5))
        except DatabaseUnavailable:
            if not self.shutdown.requested:
                raise
        return None

    async def _retry(self, call: Callable[[], Awaitable[T]], deadline: float) -> T:
        return await retry_until(
            call, self.backoff, self.shutdown, lambda: 0.0 if self.shutdown.requested else deadline
        )

    async def _recover_and_claim(self) -> Batch | None:
        while (rows := await self.queue.recover()) is not None:
            log.warning("recovered %d rows from a worker whose lease expired", rows)
            self.metrics.record_batch("recovered")
        began = time.monotonic()
        batch = await self.queue.claim(self.settings.claim_size)
        if batch is not None:
            self.metrics.claim_duration.observe(time.monotonic() - began)
        return batch
