"""Child processes that count as started once they answer, and that never outlive their parent."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

_ANSWER_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 30.0
_END_DEADLINE_S = 200.0  # below the limit of the suite
_POLL_S = 0.02


class StackError(Exception):
    """A part of the local stack does not start. The message is one line for a person."""


class Process(ABC):
    """Background program with its own process group and log file.

    The methods block while they wait. Async code calls them through `asyncio.to_thread`.
    """

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._running: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and its arguments."""

    @abstractmethod
    def answers(self) -> bool:
        """Return whether the program is ready."""

    @abstractmethod
    def prepare(self) -> None:
        """Prepare a launch. Raises `StackError`, for example when a port is busy."""

    def process_environment(self) -> Mapping[str, str]:
        """Return the program's environment."""
        return os.environ

    def start(self) -> None:
        """Launch and wait until it answers. Raises `StackError`."""
        self.launch()
        self.wait_until_it_answers()

    def launch(self) -> None:
        """Start the program without waiting, and append its output to the log. Raises `StackError`."""
        if self.alive:
            raise StackError(f"{self.name} is running already")
        self.kill()
        self.prepare()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log, deferred_signals():
            self._running = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.process_environment()),
                start_new_session=True,
            )
            _owned.add(self)

    def wait_until_it_answers(self, deadline_s: float = _ANSWER_DEADLINE_S) -> None:
        """Wait until the program answers or is done.

        Raises `StackError` when it exits otherwise or takes longer.
        """
        give_up = time.monotonic() + deadline_s
        while True:
            answered = self.answers()
            # After the answer, which another program on the same port may have given.
            self.raise_if_exited()
            if answered or self.is_done:
                return
            if time.monotonic() > give_up:
                self.kill()
                raise StackError(f"{self.name} did not answer within {deadline_s:g} s (log: {self.log})")
            time.sleep(_POLL_S)

    def stop(self, deadline_s: float = _STOP_DEADLINE_S) -> int | None:
        """Send SIGTERM, then SIGKILL after the deadline. Return the exit code, None when it never ran."""
        if self._running is not None and self.alive:
            self._running.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running.wait(deadline_s)
        return self.kill()

    def kill(self) -> int | None:
        """Send SIGKILL to the whole process group. Return the exit code, None when it never ran."""
        if self._running is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()
        _owned.discard(self)
        return self.exit_code

    def restart(self) -> None:
        """Stop and start again on the same ports and the same data."""
        self.stop()
        self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone."""
        if self._running is not None:
            self._running.send_signal(number)

    def wait(self, deadline_s: float = _END_DEADLINE_S) -> int:
        """Wait until the program ends by itself and return its exit code. Raises `subprocess.TimeoutExpired`."""
        if self._running is None:
            raise StackError(f"{self.name} was never started")
        return self._running.wait(deadline_s)

    @property
    def alive(self) -> bool:
        """True while the program runs."""
        return self._running is not None and self._running.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id while the program runs."""
        return self._running.pid if self._running is not None and self.alive else None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last run, negative for a signal."""
        return self._running.poll() if self._running is not None else None

    @property
    def is_done(self) -> bool:
        """True once a program that ends by itself has succeeded."""
        return False

    def raise_if_exited(self) -> None:
        """Raise `StackError`, with the program's last line, when it has ended and is not done."""
        if not self.alive and not self.is_done:
            raise StackError(f"{self.name} exited with {self.exit_code}: {self.last_line()} (log: {self.log})")

    def last_line(self) -> str:
        """Return the last line that the program wrote."""
        text = self.log.read_text(errors="replace").rstrip() if self.log.exists() else ""
        return text.splitlines()[-1].strip() if text else "no output"


class _Owned:
    """Running children of this process, and the guard that ends them if this process dies."""

    def __init__(self) -> None:
        self._processes: dict[int, Process] = {}
        self._guard: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def add(self, process: Process) -> None:
        with self._lock:
            if self._guard is None:
                self._guard = _start_guard()
                atexit.register(self.stop_all)
            if process.pid is not None:
                self._processes[process.pid] = process
                self._tell(f"+{process.pid}")

    def discard(self, process: Process) -> None:
        with self._lock:
            for pid in [pid for pid, owned in self._processes.items() if owned is process]:
                del self._processes[pid]
                self._tell(f"-{pid}")

    def stop_all(self) -> None:
        for process in reversed(list(self._processes.values())):
            process.stop()
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait()
            self._guard = None

    def _tell(self, line: str) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(f"{line}\n")
            self._guard.stdin.flush()


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Deliver SIGINT and SIGTERM after the block: a child that is not yet registered would be orphaned."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda number, _frame: received.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    for missed in received:
        signal.raise_signal(missed)


def shell_status(returncode: int) -> int:
    """Return the exit status that a shell shows: 130 also for a process that SIGINT ended.

    Python ends by SIGINT, whatever code it was to exit with, when the interrupt came inside an `exec`, such as that of
    a dataclass in an import.
    """
    return 128 - returncode if returncode < 0 else returncode


def _start_guard() -> subprocess.Popen[str]:
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )


_owned = _Owned()
