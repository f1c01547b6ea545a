"""Jobs as local processes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stack import JobProcess, StackError, event_jobs

StartJob = Callable[..., JobProcess]
Declare = Callable[..., Awaitable[None]]


def test_every_folder_with_a_consumer_is_an_event_job(tmp_path: Path) -> None:
    for name in ("jobs/b/consumer.json", "jobs/a/consumer.json", "jobs/batch/service.yaml", "jobs/stream.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert event_jobs(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("job", event_jobs())
async def test_a_job_that_has_started_is_ready_and_ends_on_sigterm(
    declare: Declare, start_job: StartJob, job: str
) -> None:
    await declare()
    process = start_job(job)
    assert process.answers()
    process.signal(signal.SIGTERM)
    assert process.wait() == 0


def test_a_job_never_follows_the_settings_of_the_persons_own_servers(
    stack_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_CREDS", "/home/someone/production.creds")
    monkeypatch.setenv("R2_ACCOUNT_ID", "production")
    monkeypatch.setenv("CONCURRENCY", "3")
    seen = JobProcess("image-resize", stack_environment, tmp_path / "log").process_environment()
    assert "NATS_CREDS" not in seen
    assert "R2_ACCOUNT_ID" not in seen
    assert seen["CONCURRENCY"] == "3"
    assert stack_environment.items() <= seen.items()


def test_a_job_with_a_wrong_setting_is_one_line_that_names_it(start_job: StartJob) -> None:
    with pytest.raises(StackError, match=r"^image-resize exited with 2: CONCURRENCY: .* \(log: .*\)$"):
        start_job("image-resize", CONCURRENCY="0")


def test_a_busy_port_of_a_job_is_named(stack_environment: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"^image-resize: port {port} is busy"):
            JobProcess("image-resize", stack_environment, tmp_path / "log", port).launch()
