"""Start and end of the process of a job: log, settings, traces, event loop, exit codes."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
import threading
from collections.abc import Coroutine
from typing import Any, NoReturn

from keda_jobs.errors import BrokerClosed, Misconfigured, PlatformError
from keda_jobs.runtime import logs
from keda_jobs.runtime.job import Job
from keda_jobs.runtime.process import CLOSING_S, Process
from keda_jobs.runtime.tracing import open_tracer
from keda_jobs.settings import load_settings

_PR_SET_DUMPABLE = 4

log = logging.getLogger(__name__)


def run(job: Job) -> NoReturn:
    """Run `job` from the environment, then exit: 0 done or stopped, 1 platform lost or a bug, 2 misconfigured."""
    sys.exit(_run(job))


def _run(job: Job) -> int:
    """Run `job` to its end and return the exit code."""
    logs.setup(job.name)
    _hide_memory()
    try:
        settings = load_settings(job.settings)
        logging.getLogger().setLevel(settings.log_level)
        with open_tracer(settings, job.name) as tracer:
            _run_to_end(Process(job.name, settings, tracer).run(job.main))
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
    exit_anyway = threading.Timer(CLOSING_S, _exit_anyway)
    exit_anyway.daemon = True
    exit_anyway.start()
    runner.close()
    exit_anyway.cancel()


def _exit_anyway() -> None:
    log.error("a task or a thread of a handler does not end, exiting without it")
    os._exit(1)
