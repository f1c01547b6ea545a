"""Worker loop: claim a batch as soon as the one before runs out of rows, until nothing is claimable."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from keda_jobs.batch.batch_rows import BatchRows
from keda_jobs.batch.batch_run import BatchRun, Slots
from keda_jobs.batch.gate import Gate
from keda_jobs.batch.hold import WorkerHold
from keda_jobs.batch.lease import Lease
from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.row_events import RowEvents
from keda_jobs.batch.row_runner import RowRunner
from keda_jobs.claims.queue import ClaimQueue
from keda_jobs.claims.rows import Batch
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.runtime.backoff import SHORT_S, Backoff, retry_until
from keda_jobs.runtime.shutdown import Shutdown, wait_for
from keda_jobs.runtime.spans import OFF, Tracer
from keda_jobs.settings import BatchSettings

# Pause while every claimable range is locked by other claims, which take about ten milliseconds.
_LOCKED_PAUSE_S = 0.05
# Pause between two claims while slots are free and the last rows of a batch are running.
_IDLE_PAUSE_S = 1.0
# Pause between two looks at the queue of a worker that waits for rows. One costs the database about a millisecond.
_LOOK_S = 0.25
# A worker that waits ends of itself before `activeDeadlineSeconds` of its Job does that.
_LONGEST_IDLE_S = 1800.0
# A worker deletes more old batches than it makes: up to 1000 before every hundredth claim.
_CLAIMS_PER_CLEARANCE = 100
# The next claim begins when this part of a batch's rows waits, so that it ends before the slots are free.
_FEW = 1 / 4

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Worker:
    """Loop that claims and runs batches until nothing is claimable or a shutdown is requested.

    Batches overlap: the last rows of one run while the first of the next do, so that a slow row holds up no slot but
    its own.
    """

    queue: ClaimQueue
    runner: RowRunner
    settings: BatchSettings
    metrics: BatchMetrics
    shutdown: Shutdown
    tracer: Tracer = OFF
    events: RowEvents | None = None
    """Publisher of what rows send, for a job that sends events."""
    claiming: Backoff = field(default_factory=lambda: Backoff(SHORT_S))
    """Backoff of claims. They may fail where writes do not, such as for locks."""
    writing: Backoff = field(default_factory=lambda: Backoff(SHORT_S))
    has_claimed: bool = False
    _gate: Gate = field(init=False, default_factory=Gate)
    _slots: Slots = field(init=False)
    _hold: WorkerHold = field(init=False)
    _open: int = field(init=False, default=0)
    _closed: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _began: float = field(init=False, default=0.0)
    _without_batch_since: float = field(init=False, default=0.0)
    _claims: int = field(init=False, default=0)
    _error: Exception | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Make the slots, and tell runner, queue and publisher whom to call."""
        self._slots = Slots(self.settings.workers)
        self._hold = WorkerHold(self.queue, self.runner.backoff, self.writing, self.shutdown)
        self.runner.ask_for_hold = self._hold.ask
        self.queue.on_hold = self._hold.keep
        if self.events is not None:
            self.events.on_connection = self._gate.changed

    async def run(self) -> None:
        """Run batches until nothing is claimable. Raises `DatabaseUnavailable`, `Misconfigured`."""
        self._began = self._without_batch_since = time.monotonic()
        async with asyncio.TaskGroup() as group:
            try:
                while (batch := await self._claim()) is not None:
                    self.has_claimed = True
                    await self._start(batch, group)
            except Exception as error:
                self._fail(error)
        if self._error is not None:
            raise self._error

    async def _start(self, batch: Batch, group: asyncio.TaskGroup) -> None:
        """Start to run the batch. Return when it is time for the next one."""
        lease = Lease(
            self.queue,
            replace(batch, rows=()),
            self.settings.lease_s,
            backoff=self.writing,
            gate=self._gate,
            metrics=self.metrics,
            shutdown=self.shutdown,
        )
        few = int(len(batch.rows) * _FEW)
        rows = BatchRows(batch.rows, self._gate, may_write=lambda: self._may_write(lease), few=few)
        run = BatchRun(lease, rows, self.runner, self._slots, self.settings, self.metrics, self.shutdown, self.events)
        self._open += 1
        group.create_task(self._run(run))
        if batch.is_suspect:  # it is the only one, and stays that
            self._closed.clear()
            await self._closed.wait()
        else:
            await rows.running_out.wait()

    def _may_write(self, lease: Lease) -> bool:
        return lease.is_safe and not (self.events is not None and self.events.waiting)

    async def _run(self, run: BatchRun) -> None:
        try:
            with self.tracer.batch(run.lease.batch.batch_id, run.rows.claimed) as span:
                await run.run(span)
        except Exception as error:
            self._fail(error)
        finally:
            self._open -= 1
            self._without_batch_since = time.monotonic()
            self._closed.set()

    def _fail(self, error: Exception) -> None:
        """End the worker with `error`. Its other batches end as on a signal."""
        self._error = self._error or error
        if not self.shutdown.requested:
            self.shutdown.request()

    async def _claim(self) -> Batch | None:
        """Claim the next batch, if there is one. Raises `DatabaseUnavailable` after CLAIM_TIMEOUT_S without a batch."""
        try:
            while not self.shutdown.requested:
                self._closed.clear()
                batch = await self._retry(self._recover_and_claim)
                if batch is not None:
                    return batch
                if self._open:
                    await wait_for(self._closed, _IDLE_PAUSE_S)
                elif await self._retry(self._hold.outlast):
                    self._without_batch_since = time.monotonic()
                elif await self._retry(self.queue.claimable) == 0:
                    if not await self._wait_for_rows():
                        return None
                else:
                    await self._wait_for_locks()
        except DatabaseUnavailable:
            if not self.shutdown.requested:
                raise
        return None

    async def _wait_for_rows(self) -> bool:
        """Wait for rows, if this worker has had some. Return whether there are any before IDLE_S has elapsed."""
        ends_at = min(time.monotonic() + self.settings.idle_s, self._began + _LONGEST_IDLE_S) if self.has_claimed else 0
        while time.monotonic() < ends_at and not self.shutdown.requested:
            await self.shutdown.sleep(_LOOK_S * random.uniform(0.5, 1.5))
            self._without_batch_since = time.monotonic()
            if await self._retry(self.queue.claimable):
                return True
        return False

    async def _wait_for_locks(self) -> None:
        if time.monotonic() > self._deadline():
            raise DatabaseUnavailable("every claimable row is locked by another transaction")
        log.debug("every claimable row is locked by another transaction, trying again")
        await self.shutdown.sleep(_LOCKED_PAUSE_S * random.uniform(0.5, 1.5))

    def _deadline(self) -> float:
        """Return when a claim is given up. While there are batches, it is their lease that ends them."""
        if self.shutdown.requested:
            return 0.0
        return math.inf if self._open else self._without_batch_since + self.settings.claim_timeout_s

    async def _retry(self, call: Callable[[], Awaitable[T]]) -> T:
        return await retry_until(call, self.claiming, self.shutdown, self._deadline)

    async def _recover_and_claim(self) -> Batch | None:
        while (rows := await self.queue.recover()) is not None:
            log.warning("recovered %d rows from a worker whose lease expired", rows)
            self.metrics.record_batch("recovered")
        if self._claims % _CLAIMS_PER_CLEARANCE == 0:
            await self.queue.sum_up_old_batches()
        began = time.monotonic()
        batch = await self.queue.claim(self.settings.claim_size, suspects=not self._open)
        if batch is not None:
            self._claims += 1
            self.metrics.claim_duration.observe(time.monotonic() - began)
        return batch
