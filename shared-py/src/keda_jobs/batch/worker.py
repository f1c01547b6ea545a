"""The worker's loop: claim, run the rows, write what became of them, until nothing is claimable."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from keda_jobs.batch.batch_run import BatchRun
from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.retrying import database_backoff, retry_until
from keda_jobs.batch.row_runner import RowRunner
from keda_jobs.claims.queue import Batch, ClaimQueue
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.tracing import OFF, Tracer
from keda_jobs.settings import BatchSettings

# Every claimable range was locked by other claims, which take some ten milliseconds.
_OTHERS_CLAIM_S = 0.05

T = TypeVar("T")
log = logging.getLogger(__name__)


class Worker:
    """Claims and runs batches until nothing is claimable or a shutdown is asked for."""

    def __init__(
        self,
        queue: ClaimQueue,
        runner: RowRunner,
        settings: BatchSettings,
        metrics: BatchMetrics,
        shutdown: Shutdown,
        tracer: Tracer = OFF,
    ) -> None:
        self._queue = queue
        self._runner = runner
        self._settings = settings
        self._metrics = metrics
        self._shutdown = shutdown
        self._tracer = tracer
        self._backoff = database_backoff()
        self.has_claimed = False

    async def run(self) -> None:
        """Return when nothing is claimable. Raises `DatabaseUnavailable`, `Misconfigured`."""
        while (batch := await self._claim()) is not None:
            self.has_claimed = True
            work = BatchRun(self._queue, batch, self._runner, self._settings, self._metrics, self._shutdown)
            with self._tracer.batch(batch.batch_id, len(batch.rows)) as span:
                await work.run(span)

    async def _claim(self) -> Batch | None:
        """The next batch, None where none is to be had. Raises `DatabaseUnavailable` after CLAIM_TIMEOUT_S."""
        give_up = time.monotonic() + self._settings.claim_timeout_s
        try:
            while not self._shutdown.requested:
                batch = await self._answer(self._recover_and_claim, give_up)
                if batch is not None or await self._answer(self._queue.claimable, give_up) == 0:
                    return batch
                if time.monotonic() > give_up:
                    raise DatabaseUnavailable("every claimable row is locked by another transaction")
                log.debug("every claimable row is locked by another transaction, for now")
                await self._shutdown.sleep(_OTHERS_CLAIM_S * random.uniform(0.5, 1.5))
        except DatabaseUnavailable:
            if not self._shutdown.requested:
                raise
        return None

    async def _answer(self, call: Callable[[], Awaitable[T]], give_up: float) -> T:
        return await retry_until(
            call, self._backoff, self._shutdown, lambda: 0.0 if self._shutdown.requested else give_up
        )

    async def _recover_and_claim(self) -> Batch | None:
        while (rows := await self._queue.recover()) is not None:
            log.warning("took %d rows from a worker whose lease ran out", rows)
            self._metrics.record_batch("recovered")
        began = time.monotonic()
        batch = await self._queue.claim(self._settings.claim_size)
        if batch is not None:
            self._metrics.record_claim(time.monotonic() - began)
        return batch
