"""Bounds on what decoding one hostile file may take from the worker process it runs in."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from image_resize.errors import TooCostly

_STATM = Path("/proc/self/statm")


@contextmanager
def limited(*, memory_bytes: int, cpu_s: float) -> Iterator[None]:
    """Bound the memory and the CPU time of the block; both hold for the whole process.

    So they are set in a main thread only, which in a worker process is the only one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _memory_limit(memory_bytes), _cpu_limit(cpu_s):
        yield


@contextmanager
def _memory_limit(max_bytes: int) -> Iterator[None]:
    """Let the process map at most `max_bytes` more than it has; beyond that, allocations raise `MemoryError`.

    Without this the kernel would kill the pod with every message it holds. Does nothing where there is no /proc:
    macOS accepts the limit and ignores it.
    """
    if not _STATM.exists():
        yield
        return
    mapped = int(_STATM.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + max_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def _cpu_limit(max_s: float) -> Iterator[None]:
    """Raise `TooCostly` after `max_s` seconds of CPU time, as soon as the decoder returns to Python for more data.

    CPU time, not wall clock: a busy node must not turn a good picture into a dead letter.
    """

    def out_of_time(_signal: int, _frame: FrameType | None) -> None:
        raise TooCostly(f"decoding takes more than {max_s:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, out_of_time)
    signal.setitimer(signal.ITIMER_PROF, max_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
