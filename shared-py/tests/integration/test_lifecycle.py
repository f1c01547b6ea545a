"""Jobs as processes: settings, probes, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from keda_jobs.domain.event import Event
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.main import State
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.runner import Runner
from keda_jobs.runtime.process import Process
from keda_jobs.settings import JobSettings
from keda_jobs.testing import InMemoryBroker
from stack import JobProcess, NatsServer, S3Server, free_port, wait_until

StartJob = Callable[..., JobProcess]
Declare = Callable[..., Awaitable[None]]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def lines(job: JobProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in job.log.read_text().splitlines()] if job.log.exists() else []


def run_once(environment: dict[str, str], tmp_path: Path) -> tuple[int, list[dict[str, Any]]]:
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [sys.executable, "-m", "image_resize"],
        env=bare | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


def test_a_missing_setting_is_one_line_and_exit_2(tmp_path: Path) -> None:
    code, said = run_once({}, tmp_path)
    assert code == 2
    assert len(said) == 1
    assert said[0]["level"] == "CRITICAL"
    for name in ("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "R2_BUCKET"):
        assert name in said[0]["message"]


def test_a_busy_port_is_one_line_and_exit_2(
    stack_environment: dict[str, str], nats_server: NatsServer, tmp_path: Path
) -> None:
    code, said = run_once(stack_environment | {"HTTP_PORT": str(nats_server.port)}, tmp_path)
    assert code == 2
    assert f"HTTP_PORT {nats_server.port}" in said[-1]["message"]


async def test_a_ready_job_answers_its_probes_and_ends_with_0(start_job: StartJob, declare: Declare) -> None:
    await declare()
    job = start_job("image-resize")
    assert get(f"{job.http_url}/healthz") == (200, "ok\n")
    assert get(f"{job.http_url}/readyz") == (200, "ok\n")
    assert "keda_jobs_messages_in_flight" in get(f"{job.http_url}/metrics")[1]
    job.signal(signal.SIGTERM)
    assert job.wait() == 0
    assert not [line for line in lines(job) if line["level"] in ("ERROR", "CRITICAL", "WARNING")]


async def test_settings_are_said_once_without_secrets(start_job: StartJob, declare: Declare) -> None:
    await declare()
    job = start_job("image-resize", R2_SECRET_ACCESS_KEY="local-secret-key")
    said = [line["message"] for line in lines(job) if "settings:" in line["message"]]
    assert len(said) == 1
    assert "CONCURRENCY=8" in said[0]
    assert "local-secret-key" not in job.log.read_text()


def test_a_job_waits_for_nats_and_can_be_stopped_meanwhile(s3_server: S3Server, tmp_path: Path) -> None:
    environment = s3_server.environment() | {"NATS_URL": f"nats://127.0.0.1:{free_port()}"}
    job = JobProcess("image-resize", environment, tmp_path / "job.log")
    job.launch()
    try:
        wait_until(lambda: job.log.exists() and "NATS at" in job.log.read_text())
        assert get(f"{job.http_url}/healthz")[0] == 200
        assert get(f"{job.http_url}/readyz")[0] == 503
        job.signal(signal.SIGTERM)
        assert job.wait() == 0
    finally:
        job.kill()


async def test_readiness_follows_the_connection(start_job: StartJob, declare: Declare, nats_server: NatsServer) -> None:
    await declare()
    job = start_job("image-resize")
    nats_server.kill()
    wait_until(lambda: get(f"{job.http_url}/readyz")[0] == 503)
    assert get(f"{job.http_url}/healthz")[0] == 200
    nats_server.start()
    wait_until(lambda: get(f"{job.http_url}/readyz")[0] == 200)


@pytest.mark.parametrize("wrong", [{"R2_SECRET_ACCESS_KEY": "not-the-secret"}, {"R2_BUCKET": "no-such-bucket"}])
async def test_with_a_store_that_refuses_no_message_is_taken(
    declare: Declare, stack_environment: dict[str, str], nats_server: NatsServer, tmp_path: Path, wrong: dict[str, str]
) -> None:
    await declare()
    job = JobProcess("image-resize", stack_environment | wrong, tmp_path / "job.log")
    job.launch()
    try:
        said = wait_until(lambda: [line for line in lines(job) if line["level"] == "WARNING"])
        assert "attempt not counted" in said[0]["message"]
        assert "not-the-secret" not in job.log.read_text()
        assert job.alive
        job.signal(signal.SIGTERM)
        assert job.wait() == 0
    finally:
        job.kill()


async def test_a_frozen_loop_fails_the_liveness_probe_of_its_consumer() -> None:
    async def handle(_event: Event, _context: object) -> None:
        return None

    process = Process("greeter", JobSettings())
    runner = Runner(Event, handle, lambda message: message, 1.0)
    state = State(process)
    state.consumer = Consumer(process, InMemoryBroker([]), runner, EventMetrics("greeter", process.settings))
    assert state.alive() is None
    state.consumer._ticked_at -= 61
    assert "has not moved for 61 s" in str(state.alive())
