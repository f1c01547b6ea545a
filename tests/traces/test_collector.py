"""Real jobs, a real collector, OTLP on the wire."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import JobProcess, NatsServer, free_port, until
from stack.collector import Collected, Collector

StartJob = Callable[..., JobProcess]
Declare = Callable[[], Awaitable[None]]

# Nothing is sent before the process ends, which makes every test one of the flush at the end.
LAZY = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}


@pytest.fixture
def cli(nats_server: NatsServer) -> Callable[..., Awaitable[str]]:
    """Return a function that runs the CLI: `output = await cli("pub", …, OTEL_EXPORTER_OTLP_ENDPOINT=url)`."""

    async def run(*arguments: str, **environment: str) -> str:
        command = [sys.executable, "-m", "keda_jobs.cli", *arguments]
        variables = os.environ | nats_server.environment() | environment
        done = await asyncio.to_thread(
            subprocess.run, command, env=variables, capture_output=True, text=True, check=True, timeout=300
        )
        return done.stdout + done.stderr

    return run


def outcomes(job: JobProcess) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in job.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in lines if line.get("outcome")]


def metrics(job: JobProcess) -> str:
    openmetrics = {"Accept": "application/openmetrics-text; version=1.0.0"}
    request = urllib.request.Request(f"{job.http_url}/metrics", headers=openmetrics)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


async def stopped(*jobs: JobProcess) -> None:
    """End them well, and sooner than OpenTelemetry gives up a collector, after half a minute."""
    for job in jobs:
        job.signal(signal.SIGTERM)
    for job in jobs:
        assert await asyncio.to_thread(job.wait) == 0


async def settled(job: JobProcess, number: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = await until(lambda: outcomes(job) if len(outcomes(job)) >= number else [])
    return lines


async def test_a_picture_is_one_trace_from_the_command_to_the_thumbnail(
    declare: Declare, start_job: StartJob, cli: Callable[..., Awaitable[str]], collector: Collector, site: str
) -> None:
    await declare()
    traced = LAZY | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    download = await asyncio.to_thread(start_job, "image-download", DOWNLOAD_ALLOW_ADDRESSES=site, **traced)
    resize = await asyncio.to_thread(start_job, "image-resize", **traced)
    await cli("pub", "image-download", f"http://{site}/a.png?token=secret", **traced)
    (line,) = await settled(resize, 1)
    exposed = await asyncio.to_thread(metrics, resize)
    await stopped(download, resize)

    # Each process sends its own at its end, in no order.
    spans = {(span.service, span.name, span.kind): span for span in collector.spans}
    published = spans.pop(("keda-jobs", "publish image-download", "PRODUCER"))
    downloaded = spans.pop(("image-download", "process image-download", "CONSUMER"))
    resized = spans.pop(("image-resize", "process image-downloaded", "CONSUMER"))
    assert not spans
    assert [span.parent for span in (published, downloaded, resized)] == [
        "",
        published.span_id,
        downloaded.span_id,
    ]
    assert {span.trace_id for span in collector.spans} == {line["trace_id"]}
    assert (resized.attributes["messaging.system"], resized.attributes["keda_jobs.outcome"]) == ("nats", "acked")
    assert f'# {{trace_id="{resized.trace_id}"}}' in exposed
    assert "secret" not in str(collector.spans)


async def test_a_replayed_letter_is_linked_to_the_try_that_failed(
    declare: Declare, start_job: StartJob, cli: Callable[..., Awaitable[str]], collector: Collector, site: str
) -> None:
    await declare()
    traced = LAZY | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    download = await asyncio.to_thread(start_job, "image-download", DOWNLOAD_ALLOW_ADDRESSES=site, **traced)
    await cli("pub", "image-download", f"http://{site}/gone.png")
    await settled(download, 1)
    await cli("dlq", "replay", "--all")
    await settled(download, 2)
    await stopped(download)

    failed, again = collector.named("process image-download")
    assert (failed.parent, failed.links) == ("", ())
    assert (again.parent, again.links) == (failed.span_id, (failed.span_id,))
    assert [noted(span) for span in (failed, again)] == [(True, 1, "dead_lettered", "HttpRefused")] * 2


def noted(span: Collected) -> tuple[bool, Any, Any, Any]:
    names = ("keda_jobs.attempt", "keda_jobs.outcome", "error.type")
    attempt, outcome, error = (span.attributes.get(name) for name in names)
    return span.is_error, attempt, outcome, error


@pytest.mark.parametrize("trouble", ["hangs", "is away"])
async def test_a_collector_in_trouble_holds_up_no_message_and_no_end(
    declare: Declare, start_job: StartJob, nats_server: NatsServer, collector: Collector, trouble: str
) -> None:
    await declare()
    collector.hang()
    url = collector.url if trouble == "hangs" else f"http://127.0.0.1:{free_port()}"
    eager = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BSP_MAX_QUEUE_SIZE": "16"}
    eager |= {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}
    resize = await asyncio.to_thread(start_job, "image-resize", **eager)
    async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=False) as connection:
        for _ in range(100):
            await connection.jetstream.publish("image-downloaded", b"{}")
    lines = await settled(resize, 100)
    await stopped(resize)
    assert {line["outcome"] for line in lines} == {"dead_lettered"}
    said = [line for line in resize.log.read_text().splitlines() if "export" in line]
    assert len(said) <= 1
