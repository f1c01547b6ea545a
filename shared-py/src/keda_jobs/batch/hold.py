"""Hold of a whole queue, as one of its workers asks for it and keeps it."""

from __future__ import annotations

import logging
import math
import time

from keda_jobs.claims.queue import ClaimQueue
from keda_jobs.claims.rows import QueueHold
from keda_jobs.runtime.backoff import Backoff, retry_until
from keda_jobs.runtime.shutdown import Shutdown

_LONGEST_WAIT_S = 30.0
"""Longest hold that a worker waits for, as long as KEDA may take to start the next one."""

log = logging.getLogger(__name__)


class WorkerHold:
    """Keeper of the queue's hold in one worker: no row starts until `backoff` ends. A long hold ends the worker."""

    def __init__(self, queue: ClaimQueue, backoff: Backoff, writing: Backoff, shutdown: Shutdown) -> None:
        self._queue = queue
        self._backoff = backoff
        self._writing = writing
        self._shutdown = shutdown
        self._asked_until = -math.inf

    async def ask(self, hold: QueueHold) -> None:
        """Let all workers of the queue wait. Raises `DatabaseUnavailable`, `Misconfigured`."""
        until = time.monotonic() + hold.delay_s
        if until < self._asked_until + 1:  # another row of this worker has asked
            return
        self._asked_until = until
        await retry_until(lambda: self._queue.hold(hold), self._writing, self._shutdown, lambda: until)
        self.keep(hold)

    def keep(self, hold: QueueHold) -> None:
        """Start no row before the end of the hold, or end the worker where a pod would wait too long."""
        if hold.delay_s <= _LONGEST_WAIT_S:
            self._backoff.failed(hold.reason, hold.delay_s)
        elif not self._shutdown.requested:
            log.warning("the queue is held for %.0f s, giving back what is in flight: %s", hold.delay_s, hold.reason)
            self._shutdown.request()

    async def outlast(self) -> bool:
        """Wait for the end of a hold that is not too long. Return whether there was one."""
        hold = await self._queue.held()
        if hold is None or hold.delay_s > _LONGEST_WAIT_S:
            return False
        self.keep(hold)
        await self._backoff.outlast(self._shutdown)
        return True
