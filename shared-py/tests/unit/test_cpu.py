"""Worker processes: their limits, what they must not see, and what a failing function costs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keda_jobs.domain.policy import HandlerQuit
from keda_jobs.errors import Permanent, Transient
from keda_jobs.runtime.cpu import CpuPool, CpuTimeExceeded, MemoryExceeded, WorkerDied

MB = 1_000_000


@pytest.fixture
async def cpu() -> AsyncIterator[CpuPool]:
    async with CpuPool(1) as pool:
        yield pool


async def evaluate(cpu: CpuPool, expression: str, **limits: Any) -> Any:
    """Evaluate in a worker. Functions of a test's module cannot be imported there."""
    return await cpu(eval, expression, **limits)


async def test_a_worker_has_an_empty_environment(cpu: CpuPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R2_SECRET_ACCESS_KEY", "secret")
    environment = await evaluate(cpu, "dict(__import__('os').environ)")
    assert environment.keys() <= {"LC_CTYPE"}  # which Python sets by itself
    if sys.platform == "linux":
        assert await evaluate(cpu, "open('/proc/self/environ').read()") == ""


async def test_a_worker_inherits_no_files_and_no_terminal(cpu: CpuPool, tmp_path: Path) -> None:
    inherited = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        # Its standard streams, the connection, and on Linux the size of its memory. The last one lists the folder.
        assert {int(name) for name in await evaluate(cpu, "__import__('os').listdir('/dev/fd')")} <= set(range(6))
        assert inherited > 5
    finally:
        os.close(inherited)
    assert await cpu(os.getsid, 0) == await cpu(os.getpid)


async def test_ctrl_c_does_not_end_a_worker(cpu: CpuPool) -> None:
    worker = await cpu(os.getpid)
    os.kill(worker, signal.SIGINT)
    assert await cpu(os.getpid) == worker


@pytest.mark.parametrize("cause", ["bytearray(300_000_000)", "'x' * 300_000_000", "list(range(10**9))"])
async def test_too_much_memory_is_permanent_and_the_worker_lives(cpu: CpuPool, cause: str) -> None:
    worker = await cpu(os.getpid)
    with pytest.raises(MemoryExceeded, match=r"^eval needs more than its limit of 200 MB of memory$") as caught:
        await evaluate(cpu, cause, memory=200 * MB)
    assert isinstance(caught.value, Permanent)
    assert await evaluate(cpu, "len(bytearray(300_000_000))", memory=400 * MB) == 300_000_000
    assert await cpu(os.getpid) == worker


async def test_too_much_cpu_time_is_permanent_in_the_midst_of_c_code(cpu: CpuPool) -> None:
    with pytest.raises(CpuTimeExceeded, match=r"^eval needs more than its limit of 0\.5 s of CPU time$") as caught:
        await evaluate(cpu, "sum(range(10**13))", cpu_s=0.5)
    assert isinstance(caught.value, Permanent)
    assert await evaluate(cpu, "1 + 1") == 2


async def test_cpu_time_is_counted_for_each_call(cpu: CpuPool) -> None:
    worker = await cpu(os.getpid)
    for _ in range(4):
        await evaluate(cpu, "sum(range(10_000_000))", cpu_s=10)
    assert await evaluate(cpu, "__import__('resource').getrlimit(0)[0]", cpu_s=3) <= 10
    assert await cpu(os.getpid) == worker


async def test_the_kernel_limits_files_and_processes_too(cpu: CpuPool) -> None:
    async def limit(kind: int) -> int:
        return int((await evaluate(cpu, f"__import__('resource').getrlimit({kind})"))[0])

    assert await limit(resource.RLIMIT_CORE) == 0
    assert await limit(resource.RLIMIT_FSIZE) == 0
    assert await limit(resource.RLIMIT_NPROC) == 0
    assert await limit(resource.RLIMIT_NOFILE) == 64
    with pytest.raises(OSError, match="Too many open files"):
        await evaluate(cpu, "[open('/dev/null') for _ in range(100)]")


async def test_a_function_that_forks_is_answered_once(cpu: CpuPool) -> None:
    for number in range(10):
        with contextlib.suppress(BlockingIOError):  # where the kernel allows no process
            await cpu(exec, "import os; os.fork()", {})
        async with asyncio.timeout(60):
            assert await cpu(int, str(number)) == number


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os; os.kill(os.getpid(), 11)", "was killed by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("import os; os.abort()", "was killed by SIGABRT"),
        ("import os; os._exit(0)", "ended with exit code 0"),
    ],
)
async def test_a_crash_is_a_few_tries_and_says_how(cpu: CpuPool, code: str, how: str) -> None:
    with pytest.raises(WorkerDied, match=f"^the worker process of exec {how}$") as caught:
        await cpu(exec, code)
    assert isinstance(caught.value, Transient)
    assert caught.value.max_deliveries == 3
    assert await evaluate(cpu, "1 + 1") == 2


async def test_a_worker_that_died_between_two_calls_costs_nothing(cpu: CpuPool) -> None:
    worker = await cpu(os.getpid)
    os.kill(worker, signal.SIGKILL)
    os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 (it has been killed)
    assert await cpu(os.getpid) != worker


async def test_a_cancelled_call_kills_its_worker_only() -> None:
    async with CpuPool(2) as cpu:
        for _ in range(2):
            await asyncio.gather(cpu(os.getpid), cpu(os.getpid))
        before = {worker.process.pid for worker in cpu._workers}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await cpu(signal.pause)
        after = {worker.process.pid for worker in cpu._workers}
        assert len(before - after) == 1
        with pytest.raises(ProcessLookupError):
            os.kill((before - after).pop(), 0)


async def test_the_end_of_a_pool_ends_its_workers() -> None:
    async with CpuPool(1) as cpu:
        worker = await cpu(os.getpid)
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's C library is told to keep memory")
async def test_a_call_gets_the_memory_that_the_one_before_has_freed(cpu: CpuPool) -> None:
    blocks = "[bytearray(1_000_000) for _ in range(8)] and __import__('resource').getrusage(0).ru_minflt"
    for _ in range(2):
        before = await evaluate(cpu, blocks)
    assert await evaluate(cpu, blocks) - before < 8 * MB / resource.getpagesize() / 4


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process keeps")
async def test_a_worker_that_keeps_much_memory_is_replaced(cpu: CpuPool) -> None:
    worker = await cpu(os.getpid)
    await cpu(exec, "import builtins; builtins.kept = b'x' * 40_000_000")
    assert await cpu(os.getpid) == worker
    await cpu(exec, "import builtins; builtins.kept2 = b'x' * 40_000_000")
    assert await cpu(os.getpid) != worker


async def test_what_a_module_loads_is_not_left_behind(
    cpu: CpuPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large_model.py").write_text("MODEL = b'x' * 80_000_000\n\ndef size():\n    return len(MODEL)\n")
    monkeypatch.syspath_prepend(tmp_path)
    worker = await cpu(os.getpid)
    size = importlib.import_module("large_model").size
    assert await cpu(size) == 80_000_000
    assert await cpu(os.getpid) == worker


async def test_a_worker_is_replaced_after_a_thousand_calls(cpu: CpuPool) -> None:
    workers = [await cpu(os.getpid) for _ in range(1001)]
    assert workers[0] == workers[999] != workers[1000]


RAISES = {
    "exit": ("__import__('sys').exit(0)", HandlerQuit, "^exec raised SystemExit: 0$"),
    "ctrl-c": ("raise KeyboardInterrupt", HandlerQuit, "^exec raised KeyboardInterrupt$"),
    "generator exit": ("raise GeneratorExit", HandlerQuit, "GeneratorExit"),
    "group": ("raise BaseExceptionGroup('g', [SystemExit(0)])", HandlerQuit, "BaseExceptionGroup"),
    "recursion": ("def f(): f()\nf()", RecursionError, "maximum recursion depth"),
    "memory": ("raise MemoryError", MemoryExceeded, "exec needs more"),
    "unpicklable": (
        "class Mine(Exception): pass\nraise Mine('text')",
        RuntimeError,
        "Mine: text .it cannot be pickled",
    ),
    "import": ("from os import nothing", ImportError, "cannot import name"),
    "mute": (
        "class Mute(Exception):\n def __str__(self): raise ValueError\nraise Mute",
        RuntimeError,
        "cannot be pickled",
    ),
}


@pytest.mark.parametrize("name", RAISES)
async def test_what_a_function_raises_is_an_exception_of_its_call(cpu: CpuPool, name: str) -> None:
    code, kind, words = RAISES[name]
    with pytest.raises(kind, match=words):
        await cpu(exec, code, {})
    assert await evaluate(cpu, "1 + 1") == 2


async def test_what_cannot_be_pickled_is_a_bug_of_the_caller(cpu: CpuPool) -> None:
    with pytest.raises(Exception, match="pickle"):
        await cpu(lambda: None)
    with pytest.raises(Exception, match="pickle"):
        await evaluate(cpu, "lambda: None")
    assert await evaluate(cpu, "1 + 1") == 2


async def test_an_error_brings_its_traceback_as_a_note(cpu: CpuPool) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        await evaluate(cpu, "1 / 0")
    assert str(caught.value) == "division by zero"
    assert "in the worker process: Traceback" in caught.value.__notes__[0]


values = st.recursive(st.none() | st.floats(allow_nan=False) | st.text() | st.binary(), st.lists, max_leaves=10)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(values, max_size=5))
def test_values_come_back_as_they_went(running: tuple[asyncio.Runner, CpuPool], sent: list[object]) -> None:
    runner, cpu = running

    async def send() -> list[object]:
        return await cpu(list, sent)

    assert runner.run(send()) == sent


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[asyncio.Runner, CpuPool]]:
    with asyncio.Runner() as runner:
        cpu = CpuPool(1)
        yield runner, cpu
        runner.run(cpu.__aexit__())


async def test_large_values_come_back_as_they_went(cpu: CpuPool) -> None:
    sent = os.urandom(20_000_000)
    assert await cpu(bytes, sent) == sent


MAIN = """
import asyncio
from keda_jobs.runtime.cpu import CpuPool

class Answer:
    pass

def answer():
    return Answer()

async def main():
    async with CpuPool(1) as cpu:
        assert isinstance(await cpu(answer), Answer)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_function_and_a_class_of_the_main_module_work(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(MAIN)
    subprocess.run([sys.executable, "-W", "error", file], check=True)


HIDDEN = """
import ctypes
from keda_jobs import ProcessSettings, run, service

async def serve(process):
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))

if __name__ == "__main__":
    run(service(serve, ProcessSettings))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has /proc")
def test_no_process_of_the_same_user_reads_the_memory_of_a_job(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(HIDDEN)
    done = subprocess.run([sys.executable, file], check=True, capture_output=True, text=True)
    assert done.stdout == "0\n"
