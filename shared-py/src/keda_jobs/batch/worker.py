"""The worker's loop: claim, run the rows, write what became of them, until nothing is claimable."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.patience import patience, until_answered
from keda_jobs.batch.rows import RowRunner
from keda_jobs.batch.stop import Stop
from keda_jobs.batch.work import BatchWork
from keda_jobs.claims.queue import Batch, ClaimQueue
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.settings import BatchSettings
from keda_jobs.spans import OFF, Tracer

# Every claimable range was locked by other claims, which take some ten milliseconds.
_OTHERS_CLAIM_S = 0.05

T = TypeVar("T")
log = logging.getLogger(__name__)


class Worker:
    """Claims and runs batches until nothing is claimable or a stop is asked for."""

    def __init__(
        self,
        queue: ClaimQueue,
        runner: RowRunner,
        settings: BatchSettings,
        metrics: BatchMetrics,
        stop: Stop,
        tracer: Tracer = OFF,
    ) -> None:
        self._queue = queue
        self._runner = runner
        self._settings = settings
        self._metrics = metrics
        self._stop = stop
        self._tracer = tracer
        self._pause = patience()
        self.has_claimed = False

    async def run(self) -> None:
        """Return when nothing is claimable. Raises `DatabaseUnavailable`, `Misconfigured`."""
        while (batch := await self._claim()) is not None:
            self.has_claimed = True
            work = BatchWork(self._queue, batch, self._runner, self._settings, self._metrics, self._stop)
            with self._tracer.batch(batch.batch_id, len(batch.rows)) as span:
                await work.run(span)

    async def _claim(self) -> Batch | None:
        """The next batch, None where none is to be had. Raises `DatabaseUnavailable` after CLAIM_TIMEOUT_S."""
        give_up = time.monotonic() + self._settings.claim_timeout_s
        try:
            while not self._stop.asked:
                batch = await self._answer(self._recover_and_claim, give_up)
                if batch is not None or await self._answer(self._queue.claimable, give_up) == 0:
                    return batch
                if time.monotonic() > give_up:
                    raise DatabaseUnavailable("every claimable row is locked by another transaction")
                log.debug("every claimable row is locked by another transaction, for now")
                await self._stop.rest(_OTHERS_CLAIM_S * random.uniform(0.5, 1.5))
        except DatabaseUnavailable:
            if not self._stop.asked:
                raise
        return None

    async def _answer(self, call: Callable[[], Awaitable[T]], give_up: float) -> T:
        return await until_answered(call, self._pause, self._stop, lambda: 0.0 if self._stop.asked else give_up)

    async def _recover_and_claim(self) -> Batch | None:
        while (rows := await self._queue.recover()) is not None:
            log.warning("took %d rows from a worker whose lease ran out", rows)
            self._metrics.batch("recovered")
        began = time.monotonic()
        batch = await self._queue.claim(self._settings.claim_size)
        if batch is not None:
            self._metrics.claimed(time.monotonic() - began)
        return batch
