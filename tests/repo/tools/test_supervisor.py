"""`make up` and `make down`, on free ports and in a folder for each test."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from stack import all_jobs, shell_status, wait_until
from stack.jobs import package_name

from .processes import start_python

JOBS = [job.name for job in all_jobs() if not job.ends]
FREE = [f"--{name}-port=0" for name in ("nats", "monitor", "s3", "postgres", "http", "service", "ui")]


class Stack:
    """Command line of the stack with one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, command: str, *options: str) -> subprocess.Popen[str]:
        return start_python("-m", "stack", command, f"--folder={self.folder}", *options)

    def run(self, command: str, *options: str) -> tuple[int, str, str]:
        process = self.start(command, *options)
        output, errors = process.communicate()
        return process.returncode, output, errors

    def up(self) -> str:
        code, output, errors = self.run("up", *FREE)
        assert code == 0, errors
        return output

    def pids(self) -> dict[str, int]:
        """Find the processes of this folder by a word of their command lines."""
        jobs = [package_name(job) for job in JOBS]
        words = ["supervise", "nats-server", "rclone", "bin/postgres", *jobs]
        listed = subprocess.run(["ps", "-axwwo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
        lines = [line.split(None, 2) for line in listed.splitlines()]
        supervisors = {pid for pid, _, args in lines if "stack supervise" in args and f"={self.folder} " in args}
        ours = [(pid, args) for pid, parent, args in lines if pid in supervisors or parent in supervisors]
        return {word: int(pid) for pid, args in ours for word in words if word in args.split("/s3")[0]}

    def state(self) -> dict[str, dict[str, str]]:
        state: dict[str, dict[str, str]] = json.loads((self.folder / "state.json").read_text())
        return state


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    yield stack
    stack.run("down")


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def waiting_users(dsn: str) -> int:
    """Count the claimable users, -1 when the database does not answer."""

    async def ask() -> int:
        connection = await asyncpg.connect(dsn)
        try:
            return int(await connection.fetchval("SELECT rows FROM keda_jobs.users_claimable"))
        finally:
            await connection.close()

    try:
        return asyncio.run(ask())
    except (OSError, asyncpg.PostgresError):
        return -1


@pytest.mark.slow
def test_up_runs_everything_until_down(stack: Stack) -> None:
    shown = stack.up()
    jobs = stack.state()["jobs"]
    assert sorted(jobs) == JOBS
    assert all(is_ready(url) for url in jobs.values())
    environment = stack.state()["environment"]
    assert all(url in shown for url in (*jobs.values(), environment["NATS_URL"], environment["PG_DSN"]))
    assert waiting_users(environment["PG_DSN"]) == 0
    before = stack.pids()
    assert stack.up() == shown
    assert stack.pids() == before
    assert stack.run("down") == (0, "stopped\n", "")
    assert stack.pids() == {}
    assert stack.run("down") == (0, "nothing was running\n", "")


@pytest.mark.slow
def test_a_killed_process_is_restarted(stack: Stack) -> None:
    stack.up()
    before = stack.pids()
    for victim in ("image_resize", "nats-server", "bin/postgres"):
        os.kill(before[victim], signal.SIGKILL)
        wait_until(lambda victim=victim: stack.pids().get(victim, before[victim]) != before[victim])  # type: ignore[misc]
    wait_until(lambda: all(is_ready(url) for url in stack.state()["jobs"].values()))
    wait_until(lambda: waiting_users(stack.state()["environment"]["PG_DSN"]) == 0)
    log = (stack.folder / "supervisor.log").read_text()
    assert "image-resize exited with -9; restarted in 0.5 s" in log
    assert "NATS exited with -9; restarted in 0.5 s" in log
    assert "PostgreSQL exited with -9; restarted in 0.5 s" in log


@pytest.mark.slow
def test_a_killed_supervisor_ends_all_processes_and_up_works_again(stack: Stack) -> None:
    stack.up()
    os.kill(stack.pids()["supervise"], signal.SIGKILL)
    wait_until(lambda: not any(is_ready(url) for url in stack.state()["jobs"].values()))
    stack.up()
    assert len(stack.pids()) == 4 + len(JOBS)


def test_ctrl_c_during_the_start_leaves_no_process(stack: Stack) -> None:
    starting = stack.start("up", *FREE)
    wait_until(lambda: "rclone" in stack.pids())
    starting.send_signal(signal.SIGINT)
    output, errors = starting.communicate()
    assert (shell_status(starting.returncode), output, errors) == (130, "", "")
    assert stack.pids() == {}


def test_a_busy_port_is_one_line_and_leaves_no_process(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output, errors = stack.run("up", *FREE, f"--s3-port={port}")
    assert (code, output) == (1, "")
    assert errors.startswith(f"stack: S3: port {port} is busy; ")
    assert errors.count("\n") == 1
    assert stack.pids() == {}


def test_a_stack_of_another_version_is_one_line(stack: Stack) -> None:
    (stack.folder / "state.json").write_text('{"pid": 1, "of_another_version": true}')
    with (stack.folder / "lock").open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("1")
        lock.flush()

        code, _, errors = stack.run("up")
        lock.truncate(0)

    assert code == 1
    assert errors == "stack: the running stack is of another version: stop it with `make down`, then try again\n"
