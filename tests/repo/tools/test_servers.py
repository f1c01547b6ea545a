"""Servers of the stack are ready when `start` returns, durable, and end with their owner."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stack import JobProcess, NatsServer, PostgresServer, Process, S3Server, StackError, wait_until

from .processes import family, running, start_python

Server = NatsServer | PostgresServer

OWNER = """
import sys
from pathlib import Path
from stack import NatsServer, PostgresServer, S3Server
servers = [kind(Path(sys.argv[1])) for kind in (NatsServer, S3Server, PostgresServer)]
for server in servers:
    server.start()
print(*(server.pid for server in servers), flush=True)
if sys.stdin.readline() == "crash\\n":
    raise RuntimeError
"""


def test_a_process_that_ignores_sigterm_is_killed_at_the_deadline(nats_server: NatsServer) -> None:
    nats_server.signal(signal.SIGSTOP)
    assert nats_server.stop(deadline_s=0.2) == -signal.SIGKILL


def test_a_server_that_dies_at_start_is_one_line_with_its_last_output(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"NATS exited with 1: .*no_such_setting"):
        NatsServer(tmp_path, extra="no_such_setting: 1").start()


def test_a_program_that_never_answers_is_killed_and_reported(tmp_path: Path) -> None:
    class Mute(Process):
        def prepare(self) -> None:
            tmp_path.joinpath("prepared").touch()

        def command(self) -> list[str]:
            return [sys.executable, "-c", "import time; time.sleep(60)"]

        def answers(self) -> bool:
            return False

    mute = Mute("mute", tmp_path / "mute.log")
    mute.launch()
    with pytest.raises(StackError, match=r"mute did not answer within 0\.1 s"):
        mute.wait_until_it_answers(deadline_s=0.1)
    assert not mute.alive


def test_two_starts_without_a_stop_are_refused(nats_server: NatsServer) -> None:
    with pytest.raises(StackError, match="NATS is running already"):
        nats_server.start()


@pytest.mark.parametrize(
    ("server", "last_words"),
    [(NatsServer, "Server Exiting"), (PostgresServer, "database system is shut down")],
)
def test_stop_is_orderly_and_can_be_repeated(server: type[Server], last_words: str, tmp_path: Path) -> None:
    process = server(tmp_path / "stack")
    process.start()
    assert process.stop() == 0
    assert process.stop() == 0
    assert not process.alive
    assert last_words in process.log.read_text()


@pytest.mark.parametrize(
    ("make", "name", "option"),
    [
        (NatsServer, "NATS", "--nats-port"),
        (S3Server, "S3", "--s3-port"),
        (PostgresServer, "PostgreSQL", "--postgres-port"),
        (lambda folder, port: JobProcess("image-resize", {}, folder / "log", port), "image-resize", "--http-port"),
    ],
)
def test_a_busy_port_is_one_line_that_names_it_and_the_fix(
    make: Callable[[Path, int], Process], name: str, option: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=rf'^{name}: port {port} is busy; .* make up ARGS="{option} PORT"$'):
            make(tmp_path, port).start()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["return", "crash", signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_owner(tmp_path: Path, end: str | signal.Signals) -> None:
    with start_python("-c", OWNER, str(tmp_path)) as owner:
        assert owner.stdout is not None
        servers = [family(int(pid)) for pid in owner.stdout.readline().split()]
        assert [len(processes) for processes in servers[:2]] == [1, 1]
        assert len(servers[2]) > 3
        if isinstance(end, str):
            owner.communicate(f"{end}\n")
            assert not running(set.union(*servers))
        else:
            owner.send_signal(end)
            owner.communicate()
            assert owner.returncode == -end
    wait_until(lambda: not running(set.union(*servers)))


class Sleeper(Process):
    """Process that sleeps."""

    def prepare(self) -> None:
        """Prepare nothing."""

    def command(self) -> list[str]:
        return ["sleep", "60"]

    def answers(self) -> bool:
        return True


def test_ctrl_c_during_a_launch_waits_until_the_process_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.Popen

    def interrupted(*args: Any, **options: Any) -> Any:
        process = real(*args, **options)
        signal.raise_signal(signal.SIGINT)
        return process

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    sleeper = Sleeper("sleeper", tmp_path / "log")
    with pytest.raises(KeyboardInterrupt):
        sleeper.launch()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert sleeper.alive
    assert sleeper.kill() == -signal.SIGKILL
