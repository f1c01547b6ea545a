"""Limits on the memory and CPU time that decoding one hostile file may use in its worker process."""

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
def resource_limits(*, memory_bytes: int, cpu_s: float) -> Iterator[None]:
    """Limit the memory and the CPU time of the block.

    The limits apply to the whole process. They are set only in a main thread, the only thread of a worker process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _memory_limit(memory_bytes), _cpu_limit(cpu_s):
        yield


@contextmanager
def _memory_limit(max_bytes: int) -> Iterator[None]:
    """Let the process map at most `max_bytes` more than now. Beyond that, allocations raise `MemoryError`.

    Without this limit the kernel would kill the pod with every message in flight. Without /proc there is no limit:
    macOS accepts one and ignores it.
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
    """Raise `TooCostly` after `max_s` seconds of CPU time, once the decoder returns to Python for more data.

    Wall-clock time would turn a good picture on a busy node into a dead letter.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TooCostly(f"decoding takes more than {max_s:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, max_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
