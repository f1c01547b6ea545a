"""CPU work in worker processes with limits of the kernel, so that a hostile file costs one message.

A worker has an empty environment, so that no secret is near the code that reads a stranger's file. Each has a
connection of its own, so that killing one disturbs no other.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, Protocol, Self, TypeVar, TypeVarTuple

from keda_jobs.domain.policy import HandlerQuit
from keda_jobs.errors import Permanent, Transient
from keda_jobs.runtime import cpu_worker

Args = TypeVarTuple("Args")
T = TypeVar("T")

MEMORY = 512 * 1024 * 1024
"""Bytes that a call may use by default, beyond the worker at rest."""

CPU_S = 60.0
"""Seconds of CPU time that a call may use by default."""

_EXIT_S = 1.0
_SENT_AT_ONCE = 1024 * 1024


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerDied(Transient):
    """The worker process ended in the middle of its work: it crashed, or the kernel killed it for its memory."""


class MemoryExceeded(Permanent):
    """A function in a worker process needs more memory than its limit."""


class CpuTimeExceeded(Permanent):
    """A function in a worker process needs more CPU time than its limit."""


class Cpu(Protocol):
    """Runs CPU work outside the event loop."""

    async def __call__(
        self, function: Callable[[*Args], T], *args: *Args, memory: int = MEMORY, cpu_s: float = CPU_S
    ) -> T:
        """Run `function(*args)` outside the event loop, with at most `memory` bytes and `cpu_s` of CPU time."""


class CpuPool:
    """Pool of one worker process per core. Each starts when it is needed, and is replaced when it has grown."""

    def __init__(self, processes: int | None = None) -> None:
        self._slots = asyncio.Semaphore(processes or cores())
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Kill all worker processes."""
        for worker in tuple(self._workers):
            await self._end(worker)

    async def __call__(
        self, function: Callable[[*Args], T], *args: *Args, memory: int = MEMORY, cpu_s: float = CPU_S
    ) -> T:
        """Run `function(*args)` in a worker process. Function, arguments and result must be picklable.

        The kernel gives it at most `memory` bytes beyond the worker at rest and `cpu_s` of CPU time. It can write no
        file and start no thread or process. When the caller is cancelled, such as by the handler's timeout, the worker
        is killed. Raises what the function raises, `MemoryExceeded`, `CpuTimeExceeded`, `WorkerDied`, and
        `HandlerQuit` for `SystemExit` and the like.
        """
        name = getattr(function, "__qualname__", repr(function))
        request = (pickle.dumps(function), pickle.dumps(args, pickle.HIGHEST_PROTOCOL))
        async with self._slots:
            kind, body = await self._answer(request, memory, cpu_s, name)
        match kind:
            case cpu_worker.RETURNED:
                result: T = pickle.loads(body)
                return result
            case cpu_worker.OUT_OF_MEMORY:
                raise MemoryExceeded(f"{name} needs more than its limit of {memory // 1_000_000} MB of memory")
            case cpu_worker.QUIT:
                raise HandlerQuit(f"{name} raised {pickle.loads(body)}")
            case _:
                raise pickle.loads(body)

    async def _answer(
        self, request: tuple[bytes, bytes], memory: int, cpu_s: float, name: str
    ) -> tuple[bytes, bytearray]:
        worker = await self._take()
        try:
            kind, ends, body = await worker.call(request, memory, cpu_s)
        except (ConnectionError, EOFError) as error:
            _raise_death(await self._end(worker, wait_s=_EXIT_S), name, cpu_s, error)
        except BaseException:
            await self._end(worker)
            raise
        if ends:
            await self._end(worker)
        else:
            self._idle.append(worker)
        return kind, body

    async def _take(self) -> _Worker:
        """Return an idle worker that still lives, or start one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.process.poll() is None:
                return worker
            await self._end(worker)
        worker = _Worker()
        self._workers.add(worker)
        return worker

    async def _end(self, worker: _Worker, wait_s: float = 0.0) -> int:
        self._workers.discard(worker)
        return await worker.end(wait_s)


class _Worker:
    """Worker process with the connection to it."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        self._connection.setblocking(False)
        # A photograph fits, if the kernel allows so much, and need not wait for the worker to read its first part.
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENT_AT_ONCE)
        with theirs:
            # -I: neither the folder of the script nor variables decide what is imported. A session of its own: Ctrl-C
            # on a terminal is for the parent, which lets running work end.
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-I", "-B", "-X", "utf8", cpu_worker.__file__],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                start_new_session=True,
            )
        self._is_new = True

    async def call(self, request: tuple[bytes, bytes], memory: int, cpu_s: float) -> tuple[bytes, bool, bytearray]:
        """Run a function and return the kind of the answer, whether the worker ends, and a pickle.

        Raises `ConnectionError` or `EOFError` when the worker has ended.
        """
        function, args = request
        head = cpu_worker.REQUEST.pack(len(function), len(args), memory, cpu_s) + function
        if self._is_new:
            head = pickle.dumps((sys.path, _main_module())) + head
            self._is_new = False
        loop = asyncio.get_running_loop()
        for part in cpu_worker.in_parts(head, args):
            await loop.sock_sendall(self._connection, part)
        kind, ends, length = cpu_worker.ANSWER.unpack(await self._receive(cpu_worker.ANSWER.size))
        return kind, ends, await self._receive(length)

    async def _receive(self, count: int) -> bytearray:
        received = bytearray(count)
        rest = memoryview(received)
        while rest:
            number = await asyncio.get_running_loop().sock_recv_into(self._connection, rest)
            if not number:
                raise EOFError
            rest = rest[number:]
        return received

    async def end(self, wait_s: float) -> int:
        """Kill the process unless it ends within `wait_s`, and return its exit code."""
        self._connection.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                return await self._exit_code()
        self.process.kill()
        return await self._exit_code()

    async def _exit_code(self) -> int:
        while (code := self.process.poll()) is None:  # noqa: ASYNC110 (no event says that a process has ended)
            await asyncio.sleep(0.002)
        return code


def _main_module() -> tuple[str | None, str | None]:
    """Return the name of the main module, or else its file."""
    main = sys.modules["__main__"]
    # Its classes come back from a worker under this name, as they do with multiprocessing.
    sys.modules.setdefault("__mp_main__", main)
    spec = getattr(main, "__spec__", None)
    return (spec.name if spec else None), getattr(main, "__file__", None)


def _raise_death(code: int, name: str, cpu_s: float, cause: Exception) -> NoReturn:
    if code == -signal.SIGXCPU:
        raise CpuTimeExceeded(f"{name} needs more than its limit of {cpu_s:g} s of CPU time") from cause
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    raise WorkerDied(f"the worker process of {name} {how}", max_deliveries=3) from cause
