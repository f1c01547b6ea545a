"""Trouble that does not end: the pod is not ready, gives its messages back and exits, to start with present secrets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from stack import JobProcess, NatsServer, S3Server, until

from .faulty_store import FaultyStore, answering, only, sound
from .origin import Origin
from .processes import Declare, StartJob, outcomes
from .stream_view import StreamView
from .traffic import Traffic

pytestmark = pytest.mark.slow

HOLD_TIMEOUT_S = "3"


@pytest.fixture
def launch(stack_environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., JobProcess]]:
    """Return a function that starts a job without waiting for it: `launch("exporter", NATS_USER="job")`."""
    launched: list[JobProcess] = []

    def launch_with(name: str, **changes: str) -> JobProcess:
        environment = stack_environment | {"HOLD_TIMEOUT_S": HOLD_TIMEOUT_S} | changes
        job = JobProcess(name, environment, tmp_path / "launched.log")
        launched.append(job)
        job.launch()
        return job

    yield launch_with
    for job in launched:
        job.kill()


async def probe(job: JobProcess, name: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"{job.http_url}/{name}") as response:
        return response.status, await response.text()


async def exited(job: JobProcess) -> str:
    """Wait until `job` has exited with 1, and return its only critical line."""
    await until(lambda: not job.alive)
    assert job.exit_code == 1
    lines: list[dict[str, Any]] = [json.loads(line) for line in job.log.read_text().splitlines()]
    assert not any("exception" in line for line in lines)
    [said] = [line["message"] for line in lines if line["level"] == "CRITICAL"]
    assert said == lines[-1]["message"]
    return str(said)


async def test_a_pod_in_trouble_is_alive_and_not_ready(
    declare: Declare, start: StartJob, faulty_store: FaultyStore, traffic: Traffic
) -> None:
    await declare()
    job = await start("image-download", R2_ENDPOINT_URL=faulty_store.url)

    async def readiness_is(status: int, text: str) -> bool:
        found = await probe(job, "readyz")
        return found[0] == status and text in found[1]

    faulty_store.fault = answering(403, "AccessDenied")
    await traffic.publish(1)
    await until(lambda: readiness_is(503, "refuses the credentials (AccessDenied): check R2_ACCESS_KEY_ID"))
    assert await probe(job, "healthz") == (200, "ok\n")
    assert 'keda_jobs_paused{job="image-download"} 1.0' in (await probe(job, "metrics"))[1]
    faulty_store.fault = sound
    await until(lambda: readiness_is(200, "ok"))
    assert 'keda_jobs_paused{job="image-download"} 0.0' in (await probe(job, "metrics"))[1]


async def test_a_pod_whose_key_is_refused_leaves_its_messages_to_a_healthy_one(
    declare: Declare, start: StartJob, faulty_store: FaultyStore, stream: StreamView, traffic: Traffic
) -> None:
    await declare()
    resize = await start("image-resize")
    ill = await start("image-download", R2_ENDPOINT_URL=faulty_store.url, HOLD_TIMEOUT_S=HOLD_TIMEOUT_S)
    faulty_store.fault = answering(403, "AccessDenied")
    await traffic.publish(20)
    await until(lambda: "backing off" in ill.log.read_text())
    healthy = await start("image-download")
    said = await exited(ill)
    assert "refuses the credentials (AccessDenied): check R2_ACCESS_KEY_ID" in said
    assert "HOLD_TIMEOUT_S" in said
    await until(traffic.settled)
    await traffic.balances()
    assert {line["attempt"] for line in outcomes(healthy)} == {1}
    assert resize.alive


async def test_a_restart_in_everybodys_trouble_does_no_harm(
    declare: Declare, start: StartJob, s3_server: S3Server, stream: StreamView, traffic: Traffic, origin: Origin
) -> None:
    await declare()
    resize = await start("image-resize")
    first = await start("image-download", HOLD_TIMEOUT_S=HOLD_TIMEOUT_S)
    await asyncio.to_thread(s3_server.stop)
    await traffic.publish(20)
    assert "is unreachable" in await exited(first)
    second = JobProcess("image-download", first._environment, first.log.with_name("second.log"))
    second.launch()
    try:
        assert "is unreachable" in await exited(second)
        assert outcomes(second) == []
        second.launch()
        await asyncio.to_thread(s3_server.start)
        await until(traffic.settled)
        await traffic.balances()
        assert {line["attempt"] for line in outcomes(second)} == {1}
        assert resize.alive
    finally:
        second.kill()


async def test_no_number_of_restarts_uses_up_deliveries(
    declare: Declare,
    launch: Callable[..., JobProcess],
    faulty_store: FaultyStore,
    s3_server: S3Server,
    stream: StreamView,
) -> None:
    await declare()
    # It passes the check at the start, so each new process takes messages and holds them.
    faulty_store.fault = only(answering(403, "AccessDenied"), lambda asked: asked.method == "PUT")
    original = BytesIO()
    Image.new("RGB", (300, 300)).save(original, "PNG")
    folder = s3_server.bucket_folder / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(original.getvalue())
    await stream.publish("image-downloaded", [{"key": "images/a.png"}])
    job = launch("image-resize", R2_ENDPOINT_URL=faulty_store.url, RETRY_MAX_DELIVERIES="2")
    for restarts in range(3):
        await until(lambda: not job.alive)
        assert [(line["outcome"], line["attempt"]) for line in outcomes(job)] == [("returned", 1)] * (restarts + 1)
        job.launch()
    faulty_store.fault = sound
    await until(lambda: outcomes(job)[-1]["outcome"] == "acked")
    assert {line["attempt"] for line in outcomes(job)} == {1}
    assert await stream.dead_letters() == []


async def test_a_key_that_is_refused_at_the_start_ends_the_process(launch: Callable[..., JobProcess]) -> None:
    job = launch("image-resize", R2_SECRET_ACCESS_KEY="revoked-secret-key")
    said = await exited(job)
    assert "check R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY" in said
    assert "revoked-secret-key" not in job.log.read_text()


@pytest.mark.parametrize("name", ["image-resize", "exporter"])
async def test_nats_credentials_that_are_refused_at_the_start_end_the_process(
    nats_server: NatsServer, launch: Callable[..., JobProcess], name: str
) -> None:
    await asyncio.to_thread(nats_server.stop)
    nats_server.extra = "authorization { user: job, password: present }"
    await asyncio.to_thread(nats_server.start)
    job = launch(name, NATS_USER="job", NATS_PASSWORD="revoked")
    said = await exited(job)
    assert "Authorization" in said
    assert "HOLD_TIMEOUT_S" in said
    assert "revoked" not in job.log.read_text()


async def test_nats_credentials_that_are_refused_at_a_reconnect_end_the_process(
    declare: Declare, nats_server: NatsServer, start: StartJob
) -> None:
    await declare()
    job = await start("image-resize", HOLD_TIMEOUT_S=HOLD_TIMEOUT_S)
    await asyncio.to_thread(nats_server.stop)
    nats_server.extra = "authorization { user: job, password: present }"
    await asyncio.to_thread(nats_server.start)
    assert "Authorization" in await exited(job)
