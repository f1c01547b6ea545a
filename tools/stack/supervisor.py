"""`up` and `down`: the stack in the background, with a supervisor that restarts processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from keda_jobs.domain.subjects import durable_name
from stack.jobs import ROOT
from stack.local import LocalStack, Ports
from stack.process import Process, StackError
from stack.servers import NatsServer
from stack.ui import UiProcess
from stack.waiting import wait_until

FOLDER = ROOT / ".stack"
_READY = "ready"
_DOWN_DEADLINE_S = 60.0
_WATCH_S = 0.2
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_HEALTHY_AFTER_S = 30.0
_LOOK_S = 1.0

log = logging.getLogger("stack")


@dataclass(frozen=True, slots=True)
class State:
    """Running stack, as described by `state.json` in its folder."""

    pid: int
    environment: dict[str, str]
    monitor_url: str
    jobs: dict[str, str]
    ui: str


def up(ports: Ports, folder: Path = FOLDER) -> State:
    """Start the supervisor unless it runs, and wait until everything is ready. Raises `StackError`."""
    if running_pid(folder) is None:
        folder.mkdir(parents=True, exist_ok=True)
        _start_supervisor(ports, folder)
    return read_state(folder)


def read_state(folder: Path = FOLDER) -> State:
    """Read the state of the running stack. Raises `StackError` where another version of this code runs it."""
    fields = json.loads((folder / "state.json").read_text())
    try:
        return State(**fields)
    except TypeError as error:
        raise StackError("the running stack is of another version: stop it with `make down`, then try again") from error


def _start_supervisor(ports: Ports, folder: Path) -> None:
    options = [f"--{name}-port={port}" for name, port in asdict(ports).items()]
    with (folder / "supervisor.log").open("ab") as errors:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "stack", "supervise", f"--folder={folder}", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert supervisor.stdout is not None
    try:
        with supervisor.stdout as answers:
            answer = answers.read().strip()
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        raise
    if answer != _READY:
        supervisor.wait()
        raise StackError(answer or f"the supervisor failed (log: {folder / 'supervisor.log'})")


def down(folder: Path = FOLDER) -> bool:
    """Stop the stack and wait for its end. Return False when none was running. Raises `StackError`."""
    pid = running_pid(folder)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    try:
        return wait_until(lambda: running_pid(folder) is None, _DOWN_DEADLINE_S)
    except TimeoutError:
        raise StackError(f"the supervisor (pid {pid}) does not stop (log: {folder / 'supervisor.log'})") from None


def running_pid(folder: Path = FOLDER) -> int | None:
    """Return the process id of the folder's supervisor, None when none runs. Raises `StackError`."""
    with contextlib.suppress(FileNotFoundError), (folder / "lock").open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if pid := lock.read():
                return int(pid)
            raise StackError("the stack is starting; try again in a moment") from None
    return None


def supervise(ports: Ports, folder: Path = FOLDER) -> None:
    """Run the stack until SIGTERM. Print one line on stdout: `ready`, or what is wrong."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    signal.signal(signal.SIGTERM, _exit)
    try:
        _lock(folder)
        with LocalStack(folder, ports) as stack, _page(stack, folder, ports.ui) as ui:
            _write_state(folder, stack, ui)
            log.info("running")
            _report(_READY)
            _keep_running(stack, ui)
    except StackError as error:
        _report(str(error))
    except BrokenPipeError:
        log.info("the command that started the stack is gone")
    finally:
        log.info("stopped")


class Restarter:
    """Restart policy of one process: after a short pause at first, then after longer ones, as in Kubernetes."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._pause_s = _FIRST_PAUSE_S
        self._alive_since = time.monotonic()
        self._due: float | None = None

    def tick(self, now: float) -> None:
        """Check the process, and restart it after its pause."""
        if self.process.alive:
            if now - self._alive_since > _HEALTHY_AFTER_S:
                self._pause_s = _FIRST_PAUSE_S
        elif self._due is None:
            log.info("%s exited with %s; restarted in %g s", self.process.name, self.process.exit_code, self._pause_s)
            self._due = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        elif now >= self._due:
            self._due, self._alive_since = None, now
            _launch(self.process)


class Starter:
    """Start policy of a long job's process: while its consumer has lag, as KEDA does, but one at a time."""

    def __init__(self, process: Process, nats: NatsServer) -> None:
        self._process = process
        self._nats = nats
        self._next_look = 0.0

    def tick(self, now: float) -> None:
        """Start the process if it does not run and there is work for it."""
        if self._process.alive or now < self._next_look:
            return
        self._next_look = now + _LOOK_S
        if self._nats.lag(durable_name(self._process.name)):
            _launch(self._process)


def _launch(process: Process) -> None:
    try:
        process.launch()
    except StackError as error:
        log.info("%s", error)


@contextlib.contextmanager
def _page(stack: LocalStack, folder: Path, port: int) -> Iterator[UiProcess]:
    """Run the page about the stack. It may act, as whoever has started the stack may."""
    ui = UiProcess(stack.environment, folder / "ui.log", port, "--allow-actions")
    ui.start()
    try:
        yield ui
    finally:
        ui.stop()


def _keep_running(stack: LocalStack, ui: UiProcess) -> None:
    policies: list[Restarter | Starter] = [Restarter(process) for process in (*stack.processes, ui)]
    policies += [Starter(process, stack.nats) for process in stack.long_jobs]
    while True:
        for policy in policies:
            policy.tick(time.monotonic())
        time.sleep(_WATCH_S)


def _lock(folder: Path) -> None:
    """Take the folder's lock. It is never released, so it is free exactly when this process has ended."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StackError("the stack runs already; `make down` stops it") from None
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())


def _write_state(folder: Path, stack: LocalStack, ui: UiProcess) -> None:
    jobs = {job.name: job.http_url for job in stack.jobs}
    state = State(os.getpid(), stack.environment, stack.nats.monitor_url, jobs, ui.url)
    new = folder / "state.json.new"
    new.write_text(json.dumps(asdict(state), indent=2))
    new.replace(folder / "state.json")


def _report(line: str) -> None:
    """Print the one line for `up`. Closing stdout says that no other follows."""
    print(line, flush=True)
    with open(os.devnull, "w") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
