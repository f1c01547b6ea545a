"""From a claimed row to what is to be written of it; the one place where a row's exception becomes an outcome."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any

from keda_jobs.batch.context import BatchContext
from keda_jobs.batch.job import BatchJob
from keda_jobs.batch.results import ResultBuffer
from keda_jobs.claims.queue import Claimed, Done, Failure
from keda_jobs.domain.policy import RetryPolicy, describe
from keda_jobs.errors import JobError, PlatformError, Transient
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.shutdown import Shutdown, is_cancelled

# Between two turns of the rows, heartbeat, writes and probes have theirs.
_TURN_S = 0.02

log = logging.getLogger(__name__)


class HandlerQuit(Transient):
    """The handler raised what ends a task or a process, and nobody had asked for an end."""


class TimeSlice:
    """The time in which rows run, one for all tasks: a handler without a single await would not end it otherwise."""

    def __init__(self) -> None:
        self.ends_at = 0.0
        self._came = asyncio.Event()
        self._came.set()

    async def next(self) -> None:
        """Return when the others of the loop have had their time_slice."""
        if not self._came.is_set():
            await self._came.wait()
            return
        self._came.clear()
        asyncio.get_running_loop().call_soon(self._came.set)
        await self._came.wait()
        self.ends_at = time.monotonic() + _TURN_S


class RowRunner:
    """Runs the handler on rows, in as many tasks as `run` is called in."""

    def __init__(self, job: BatchJob, context: BatchContext[Any, Any], policy: RetryPolicy, shutdown: Shutdown) -> None:
        self._handler = job.handler
        self._row = job.row
        self._result = type(None) if job.result is None else job.result
        self._context = context
        self._policy = policy
        self._shutdown = shutdown
        self._backoff = Backoff()
        self._slice = TimeSlice()
        self._bugs: set[type[BaseException]] = set()

    async def run(self, waiting: deque[Claimed], results: ResultBuffer) -> None:
        """Run the rows that wait, until none does or a shutdown is asked for.

        This is the inner loop: what it does is done a hundred thousand times a second.
        """
        handler, context, row_type, result_type = self._handler, self._context, self._row, self._result
        time_slice = self._slice
        while waiting and not self._shutdown.requested:
            if time.monotonic() > time_slice.ends_at:
                results.wake_if_full()
                await time_slice.next()
                continue
            claimed = waiting.popleft()
            try:
                result = await handler(tuple.__new__(row_type, claimed.values), context)
                if type(result) is not result_type:
                    raise TypeError(f"the handler returned {type(result).__name__}, not {result_type.__name__}")
            except PlatformError as error:
                waiting.appendleft(claimed)
                await self._rest(error)
            except Exception as error:
                self._say_bug(error)
                results.failures.append(self.failure(claimed, error))
            except (asyncio.CancelledError, SystemExit) as error:
                if is_cancelled():
                    raise
                results.failures.append(self.failure(claimed, HandlerQuit(f"it raised {describe(error)}")))
            else:
                results.done.append(Done(claimed, result or ()))
                if self._backoff.active:
                    self._backoff.reset()

    async def _rest(self, error: PlatformError) -> None:
        self._backoff.failed(str(error))
        await self._shutdown.sleep(self._backoff.remaining_s)

    def failure(self, claimed: Claimed, error: Exception) -> Failure:
        """The failure of a row by `error`: when it is tried again, if ever."""
        return Failure.of(claimed, self._policy.after_failure(error, claimed.attempts + 1))

    def _say_bug(self, error: Exception) -> None:
        if not isinstance(error, JobError) and type(error) not in self._bugs:
            self._bugs.add(type(error))
            log.error("the handler raised; its later %s are not said", type(error).__name__, exc_info=error)
