"""Servers of the stack are ready when `start` returns, durable, and end with their owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aioboto3
import aiohttp
import nats
import pytest

from stack import NatsServer, Process, S3Server, StackError, wait_until
from stack.jobs import ROOT
from stack.servers import BUCKET, SECRET_KEY

OWNER = """
import sys, time
from pathlib import Path
from stack import NatsServer, S3Server
servers = [NatsServer(Path(sys.argv[1])), S3Server(Path(sys.argv[1]))]
for server in servers:
    server.start()
print(*(server.pid for server in servers), flush=True)
if sys.argv[2] == "wait":
    time.sleep(60)
if sys.argv[2] == "crash":
    raise RuntimeError
"""


def is_running(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self").exists():
        return subprocess.run(["ps", "-p", str(pid)], stdout=subprocess.DEVNULL, check=False).returncode == 0
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def owner(folder: Path, ending: str) -> tuple[subprocess.Popen[str], list[int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), ending],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as output:
        return process, [int(pid) for pid in output.readline().split()]


async def test_a_confirmed_publish_survives_kill_9(
    nats_server: NatsServer, declare: Callable[..., Awaitable[None]]
) -> None:
    await declare()
    client = await nats.connect(nats_server.url)
    confirmed = await client.jetstream().publish("image-download", b"{}")
    await client.close()
    nats_server.kill()
    nats_server.start()
    client = await nats.connect(nats_server.url)
    assert (await client.jetstream().get_msg("keda-jobs-events", confirmed.seq)).data == b"{}"
    await client.close()


@pytest.mark.parametrize(("secret", "status"), [(SECRET_KEY, 200), ("another-secret", 403)])
async def test_s3_serves_files_as_objects_with_the_right_secret(s3_server: S3Server, secret: str, status: int) -> None:
    (s3_server.bucket_folder / "picture").write_bytes(b"pixels")
    key = s3_server.environment()["R2_ACCESS_KEY_ID"]
    session = aioboto3.Session(key, secret, region_name="auto")
    async with session.client("s3", endpoint_url=s3_server.url) as client:
        url = await client.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "picture"})
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert answer.status == status
        assert (await answer.read() == b"pixels") is (status == 200)


def test_a_server_comes_back_on_the_same_port_with_the_same_data(s3_server: S3Server) -> None:
    (s3_server.bucket_folder / "picture").write_bytes(b"pixels")
    url = s3_server.url
    s3_server.restart()
    assert s3_server.alive
    assert s3_server.url == url
    assert (s3_server.bucket_folder / "picture").read_bytes() == b"pixels"


def test_stop_is_orderly_and_can_be_repeated(nats_server: NatsServer) -> None:
    assert nats_server.stop() == 0
    assert nats_server.stop() == 0
    assert not nats_server.alive
    assert "Server Exiting" in nats_server.log.read_text()


def test_a_process_that_ignores_sigterm_is_killed_at_the_deadline(nats_server: NatsServer) -> None:
    nats_server.signal(signal.SIGSTOP)
    assert nats_server.stop(deadline_s=0.2) == -signal.SIGKILL


def test_a_busy_port_is_one_line_that_names_it_and_the_fix(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=rf"^NATS: port {port} is busy; .* make up ARGS=\"--nats-port PORT\"$"):
            NatsServer(tmp_path, port).start()
        with pytest.raises(StackError, match=rf"^S3: port {port} is busy; .* make up ARGS=\"--s3-port PORT\"$"):
            S3Server(tmp_path, port).start()


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


@pytest.mark.parametrize("ending", ["return", "crash"])
def test_servers_end_with_an_owner_that_forgets_them(tmp_path: Path, ending: str) -> None:
    process, pids = owner(tmp_path, ending)
    assert len(pids) == 2
    process.wait(60)
    assert not any(is_running(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_servers_end_with_an_owner_that_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    process, pids = owner(tmp_path, "wait")
    assert all(is_running(pid) for pid in pids)
    process.send_signal(number)
    process.wait(60)
    wait_until(lambda: not any(is_running(pid) for pid in pids))


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
