"""CPU work in processes beside the event loop, so that heartbeats and probes go on and a crash costs one message."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple

from anyio import BrokenWorkerProcess, CapacityLimiter, to_process

from keda_jobs.errors import Transient

Args = TypeVarTuple("Args")
T = TypeVar("T")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerDied(Transient):
    """The worker process ended in the middle of its work: it crashed, or the kernel took its memory."""


class Cpu(Protocol):
    """Runs CPU work beside the event loop."""

    async def __call__(self, function: Callable[[*Args], T], *args: *Args) -> T:
        """`function(*args)`, elsewhere."""


class CpuPool:
    """Worker processes, as many as cores; each is started at first use and kept."""

    def __init__(self, processes: int | None = None) -> None:
        self._limiter = CapacityLimiter(processes or cores())

    async def __call__(self, function: Callable[[*Args], T], *args: *Args) -> T:
        """`function(*args)` in a worker process; function, arguments and result must be picklable.

        A caller that is cancelled, by the handler's timeout for one, has its worker process killed.
        Raises what the function raises, and `WorkerDied`.
        """
        try:
            return await to_process.run_sync(function, *args, cancellable=True, limiter=self._limiter)
        except BrokenWorkerProcess as error:
            raise WorkerDied(max_deliveries=3) from error
