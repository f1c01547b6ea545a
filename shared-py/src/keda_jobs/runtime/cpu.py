"""CPU work in worker processes, so that heartbeats and probes go on and a crash costs one message."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple

from anyio import BrokenWorkerProcess, CapacityLimiter, to_process

from keda_jobs.errors import Transient

Args = TypeVarTuple("Args")
T = TypeVar("T")


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerDied(Transient):
    """The worker process ended in the middle of its work: it crashed, or the kernel killed it for its memory."""


class Cpu(Protocol):
    """Runs CPU work outside the event loop."""

    async def __call__(self, function: Callable[[*Args], T], *args: *Args) -> T:
        """Run `function(*args)` outside the event loop."""


class CpuPool:
    """Pool of one worker process per core. Each starts at its first use and is kept."""

    def __init__(self, processes: int | None = None) -> None:
        self._limiter = CapacityLimiter(processes or cores())

    async def __call__(self, function: Callable[[*Args], T], *args: *Args) -> T:
        """Run `function(*args)` in a worker process. Function, arguments and result must be picklable.

        When the caller is cancelled, such as by the handler's timeout, its worker process is killed.
        Raises what the function raises, and `WorkerDied`.
        """
        try:
            return await to_process.run_sync(function, *args, cancellable=True, limiter=self._limiter)
        except BrokenWorkerProcess as error:
            raise WorkerDied(max_deliveries=3) from error
