"""Process of a job while it runs: signals, shutdown, and the end of a trouble that lasts."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from keda_jobs.errors import PlatformError
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.spans import OFF, Tracer
from keda_jobs.runtime.trouble import Trouble
from keda_jobs.settings import ProcessSettings, WorkSettings, format_settings

CLOSING_S = 5.0
"""Time after the grace: to write and to give back, if the platform answers at all."""
_TICK_S = 0.5

S = TypeVar("S", bound=ProcessSettings)
log = logging.getLogger(__name__)


class Process(Generic[S]):
    """Running process: its settings, its tracer, its shutdown and its trouble with the platform."""

    def __init__(self, name: str, settings: S, tracer: Tracer = OFF) -> None:
        self.name = name
        self.settings = settings
        self.tracer = tracer
        self.shutdown = Shutdown(settings.shutdown_grace_s if isinstance(settings, WorkSettings) else 0.0)
        self.trouble = Trouble()
        self.connected = False
        """True once running work may finish after a signal. Until then a signal cancels the job."""
        self.hang_up: Callable[[], None] = lambda: None
        """Ends every call that has no answer. Cancelling one may wait for the server."""

    async def run(self, main: Callable[[Process[S]], Coroutine[Any, Any, None]]) -> None:
        """Run the main function of a job. A signal requests a shutdown, a second one ends the grace.

        Raises `PlatformError` when trouble has lasted for HOLD_TIMEOUT_S. Restarted, the process has today's secrets.
        """
        log.info("settings: %s", format_settings(self.settings))
        task = asyncio.create_task(main(self))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, task)
        hold = asyncio.create_task(self._end_hold(task))
        try:
            await task
        except asyncio.CancelledError:
            if not self.shutdown.requested:
                raise
            log.info("stopped before it was connected")
        finally:
            hold.cancel()
        if hold.done() and not hold.cancelled():
            raise PlatformError(hold.result())

    async def _end_hold(self, main: asyncio.Task[None]) -> str:
        """Stop the job, as a signal does, once trouble has lasted for too long. Return the reason."""
        limit_s = self.settings.hold_timeout_s
        while True:
            await asyncio.sleep(_TICK_S)
            if reason := self.trouble.outlasting(limit_s):
                break
        end = f"{reason}; exiting after {limit_s:g} s (HOLD_TIMEOUT_S), to start with today's secrets"
        log.warning("HOLD_TIMEOUT_S elapsed, giving back what is in flight")
        self._stop(main)
        return end

    def _stop(self, main: asyncio.Task[None]) -> None:
        self.shutdown.request()
        if self.connected:
            left_s = self.shutdown.deadline - time.monotonic() + CLOSING_S
            asyncio.get_running_loop().call_later(left_s, self.hang_up)
        else:
            self.hang_up()
            main.cancel()
