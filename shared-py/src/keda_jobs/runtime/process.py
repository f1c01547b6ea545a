"""Start and end of the process of a job: log, settings, traces, signals, probes, exit codes."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from keda_jobs.errors import BrokerClosed, Misconfigured, PlatformError
from keda_jobs.runtime import logs
from keda_jobs.runtime.job import Job
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.tracing import OFF, Tracer, open_tracer
from keda_jobs.runtime.trouble import Trouble
from keda_jobs.settings import ProcessSettings, WorkSettings, format_settings, load_settings

# After the grace: to write and to give back, if the platform answers at all.
_CLOSING_S = 5.0
_TICK_S = 0.5

_PR_SET_DUMPABLE = 4

S = TypeVar("S", bound=ProcessSettings)
log = logging.getLogger(__name__)


def run_process(job: Job) -> int:
    """Run `job` to its end and return the exit code."""
    logs.setup(job.name)
    _hide_memory()
    try:
        settings = load_settings(job.settings)
        logging.getLogger().setLevel(settings.log_level)
        with open_tracer(settings, job.name) as tracer:
            _run_to_end(Process(job.name, settings, tracer).run(job))
    except (BrokerClosed, Misconfigured, PlatformError) as error:
        log.critical("%s", error)
        return 2 if isinstance(error, Misconfigured) else 1
    except (Exception, asyncio.CancelledError, SystemExit):
        log.critical("stopped by a bug", exc_info=True)
        return 1
    return 0


def _hide_memory() -> None:
    """Let no process of the same user read the memory and the environment of this one, such as a worker of `cpu`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _run_to_end(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end. Only its own exceptions end it.

    The loop stops when any task or callback raises `SystemExit` or `KeyboardInterrupt`. Such a task is one that a
    handler has started, because signals have handlers of their own. The loop goes on where it stopped.
    """
    runner = asyncio.Runner()
    try:
        task = runner.get_loop().create_task(main)
        while not task.done():
            _run_on(runner.get_loop(), task)
        task.result()
    finally:
        _close(runner)


def _run_on(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    try:
        loop.run_until_complete(asyncio.wait((task,)))
    except (SystemExit, KeyboardInterrupt) as error:
        log.error("a task of a handler raised %s; the process goes on", type(error).__name__, exc_info=error)


def _close(runner: asyncio.Runner) -> None:
    """Cancel what handlers have left behind. Tasks and threads that ignore it do not hold up the exit."""
    exit_anyway = threading.Timer(_CLOSING_S, _exit_anyway)
    exit_anyway.daemon = True
    exit_anyway.start()
    runner.close()
    exit_anyway.cancel()


def _exit_anyway() -> None:
    log.error("a task or a thread of a handler does not end, exiting without it")
    os._exit(1)


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

    async def run(self, job: Job) -> None:
        """Run the main function of `job`. A signal requests a shutdown, a second one ends the grace.

        Raises `PlatformError` when trouble has lasted for HOLD_TIMEOUT_S. Restarted, the process has today's secrets.
        """
        log.info("settings: %s", format_settings(self.settings))
        main = asyncio.create_task(job.main(self))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, main)
        hold = asyncio.create_task(self._end_hold(main))
        try:
            await main
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
            left_s = self.shutdown.deadline - time.monotonic() + _CLOSING_S
            asyncio.get_running_loop().call_later(left_s, self.hang_up)
        else:
            self.hang_up()
            main.cancel()
