"""Lease of one batch: renewed by heartbeats and by every write, and lost when nothing renews it in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from keda_jobs.batch.gate import Gate
from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.claims.queue import ClaimQueue, LeaseLost
from keda_jobs.claims.rows import Batch
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.runtime.backoff import Backoff, retry_until
from keda_jobs.runtime.shutdown import Shutdown

# Parts of the lease: without a renewal, and without any answer to a call, after which no row starts.
_OLD, _QUIET = 1 / 2, 1 / 8

T = TypeVar("T")


class Lease:
    """Lease of `batch`, by the clock of this process. It begins with the claim."""

    def __init__(
        self,
        queue: ClaimQueue,
        batch: Batch,
        duration_s: float,
        *,
        backoff: Backoff,
        gate: Gate,
        metrics: BatchMetrics,
        shutdown: Shutdown,
    ) -> None:
        self.queue = queue
        self.batch = batch
        self._duration_s = duration_s
        self._backoff = backoff
        self._gate = gate
        self._metrics = metrics
        self._shutdown = shutdown
        self._calls = 0
        self._answered_at = 0.0
        self._renewed_at = 0.0
        self._record_renewal(time.monotonic())

    @property
    def is_safe(self) -> bool:
        """True while the database answers and the lease is far from its end."""
        now = time.monotonic()
        is_quiet = self._calls > 0 and now - self._answered_at > self._duration_s * _QUIET
        is_old = now - self._renewed_at > self._duration_s * _OLD
        return not (self._backoff.active or is_quiet or is_old)

    async def keep(self) -> None:
        """Renew the lease until cancelled. Raises `LeaseLost`."""
        while True:
            await asyncio.sleep(self._duration_s / 3)
            await self.retry(lambda: self.queue.renew(self.batch))

    async def retry(self, call: Callable[[], Awaitable[T]]) -> T:
        """Retry `call` until the lease expires, or until the grace of a shutdown elapses. Raises `LeaseLost`."""
        try:
            return await retry_until(
                lambda: self._attempt(call),
                self._backoff,
                self._shutdown,
                lambda: min(self._renewed_at + self._duration_s, self._shutdown.deadline),
            )
        except DatabaseUnavailable as error:
            raise LeaseLost(f"batch {self.batch.batch_id}: {error}") from error

    def end(self) -> None:
        """Count the batch as closed."""
        self._metrics.renewed_at.pop(self.batch.batch_id, None)

    async def _attempt(self, call: Callable[[], Awaitable[T]]) -> T:
        began = time.monotonic()
        if not self._calls:
            self._answered_at = began
        self._calls += 1
        try:
            result = await call()
        finally:
            self._calls -= 1
        # Every successful call has renewed the lease, at some moment after it was sent.
        self._record_renewal(began)
        return result

    def _record_renewal(self, moment: float) -> None:
        self._answered_at = time.monotonic()
        self._renewed_at = max(self._renewed_at, moment)
        self._metrics.renewed_at[self.batch.batch_id] = self._renewed_at
        self._gate.changed()
