"""Worker process of `keda_jobs.runtime.cpu`: runs one function after the other, within limits of the kernel.

It is started as a file in an empty environment, before it knows where packages are, so it imports only the standard
library.
"""

from __future__ import annotations

import gc
import math
import os
import pickle
import resource
import runpy
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

REQUEST = struct.Struct("!QQQd")
"""Lengths of two pickles, of the function and of its arguments. Then its limits: bytes of memory, seconds of CPU."""

ANSWER = struct.Struct("!c?Q")
"""Kind, whether the worker ends now, and the length of the pickle that follows."""

RETURNED, RAISED, QUIT, OUT_OF_MEMORY = b"R", b"E", b"Q", b"M"
"""Kinds of an answer: a value, an exception, the text of `SystemExit` or the like, and no pickle."""

MAX_CALLS = 1000
"""A worker is replaced after this many calls, because libraries leak."""

MAX_KEPT_BYTES = 64 * 1024 * 1024
"""A worker is replaced when its calls leave this much behind."""

# A photograph of 300 kB needs 1.5 MB.
_KEPT_FREE = 16 * 1024 * 1024
_JOINED_BYTES = 64 * 1024
_MAX_FILES = 64
_STATM = Path("/proc/self/statm")
_PAGE_BYTES = resource.getpagesize()
_TRACEBACK_CHARS = 4000


def serve() -> None:
    """Answer the calls that come through standard input, until it is closed or this worker is to be replaced."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=os.dup(0))
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    requests = connection.makefile("rb")
    sys.path[:], main = pickle.load(requests)
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_FILES, _MAX_FILES))
    keep_freed_memory()
    calls = Calls(requests, main, Memory())
    process = os.getpid()
    while (answer := calls.answer_next()) is not None:
        if os.getpid() != process:
            os._exit(1)  # The kernel lets a function of root fork. Two answers to one call would mix up all later ones.
        kind_of_answer, body = answer
        ends = calls.count >= MAX_CALLS or calls.keeps_too_much()
        for part in in_parts(ANSWER.pack(kind_of_answer, ends, len(body)), body):
            connection.sendall(part)
        if ends:
            return


def in_parts(head: bytes, body: bytes) -> tuple[bytes, ...]:
    """Return what to send: head and body at once, so that the reader wakes once, unless the body is long to copy."""
    return (head + body,) if len(body) <= _JOINED_BYTES else (head, body)


def keep_freed_memory() -> None:
    """Let the C library keep what a call frees. The next call would pay the kernel for each page."""
    # glibc keeps twice the largest block that was freed, see M_MMAP_THRESHOLD in mallopt(3). This one is never written
    # to, so it uses no memory.
    bytes(_KEPT_FREE // 2)


class Memory:
    """Memory of this process. Without /proc all is zero."""

    def __init__(self) -> None:
        self._statm = _STATM.open("rb", buffering=0) if _STATM.exists() else None

    def read(self) -> tuple[int, int]:
        """Return the bytes that are mapped, and those that are resident."""
        if self._statm is None:
            return 0, 0
        mapped, resident, *_ = os.pread(self._statm.fileno(), 100, 0).split()
        return int(mapped) * _PAGE_BYTES, int(resident) * _PAGE_BYTES


class Calls:
    """Calls that this worker answers, and what they leave behind."""

    def __init__(self, requests: BinaryIO, main: tuple[str | None, str | None], memory: Memory) -> None:
        self.count = 0
        self._requests = requests
        self._main = main
        self._memory = memory
        self._at_rest = memory.read()[1]

    def answer_next(self) -> tuple[bytes, bytes] | None:
        """Run the next function and return the kind of its answer and a pickle, or None when there is no next."""
        head = self._requests.read(REQUEST.size)
        if len(head) < REQUEST.size:
            return None
        function_bytes, args_bytes, memory, cpu_s = REQUEST.unpack(head)
        function, args = self._requests.read(function_bytes), self._requests.read(args_bytes)
        self.count += 1
        try:
            return RETURNED, self._run(function, args, memory, cpu_s)
        except MemoryError:
            return OUT_OF_MEMORY, b""
        except Exception as error:
            return RAISED, _pickle_error(error)
        except BaseException as error:
            return QUIT, pickle.dumps(_describe(error))

    def _run(self, function_pickle: bytes, args_pickle: bytes, memory: int, cpu_s: float) -> bytes:
        before = self._memory.read()[1]
        if b"__main__" in function_pickle or b"__main__" in args_pickle:
            _import_main(*self._main)
        function = pickle.loads(function_pickle)
        self._at_rest += self._memory.read()[1] - before
        args = pickle.loads(args_pickle)
        mapped = self._memory.read()[0]
        with limited(mapped + memory if mapped else None, cpu_s):
            return pickle.dumps(function(*args), pickle.HIGHEST_PROTOCOL)

    def keeps_too_much(self) -> bool:
        """Return whether calls left more behind than they may. What a function imports does not count."""
        if self._kept_bytes() > MAX_KEPT_BYTES:
            gc.collect()
        return self._kept_bytes() > MAX_KEPT_BYTES

    def _kept_bytes(self) -> int:
        return self._memory.read()[1] - self._at_rest


@contextmanager
def limited(mapped: int | None, cpu_s: float) -> Iterator[None]:
    """Limit the block to `mapped` bytes of address space and to `cpu_s`. It starts neither threads nor processes.

    Beyond its memory an allocation fails. Beyond its CPU time the kernel ends the process, in the midst of C code too.
    Without /proc memory has no limit: macOS accepts one and ignores it.
    """
    limits = {resource.RLIMIT_CPU: math.ceil(time.process_time() + cpu_s), resource.RLIMIT_NPROC: 0}
    if mapped is not None:
        limits[resource.RLIMIT_AS] = mapped
    hard = {kind: resource.getrlimit(kind)[1] for kind in limits}
    for kind, value in limits.items():
        most = hard[kind]
        resource.setrlimit(kind, (value if most == resource.RLIM_INFINITY else min(value, most), most))
    try:
        yield
    finally:
        for kind, most in hard.items():
            resource.setrlimit(kind, (most, most))


def _pickle_error(error: Exception) -> bytes:
    """Pickle `error` with its traceback as a note. One that cannot come back becomes a `RuntimeError`."""
    text = _describe(error)
    try:
        error.add_note("in the worker process: " + "".join(traceback.format_exception(error))[-_TRACEBACK_CHARS:])
        body = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        pickle.loads(body)
    except Exception:
        return pickle.dumps(RuntimeError(f"{text} (it cannot be pickled)"))
    return body


def _describe(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()[:_TRACEBACK_CHARS]


def _import_main(name: str | None, path: str | None) -> None:
    """Import the main module of the parent, where a function or a class may come from, as multiprocessing does."""
    if "__mp_main__" in sys.modules:
        return
    main = ModuleType("__mp_main__")
    if name is not None:
        main.__dict__.update(runpy.run_module(name, run_name="__mp_main__", alter_sys=True))
    elif path is not None:
        main.__dict__.update(runpy.run_path(path, run_name="__mp_main__"))
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main


if __name__ == "__main__":
    serve()
