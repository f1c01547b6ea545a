"""Without an endpoint nothing of OpenTelemetry is loaded. With one and without the extra, one line says so."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig

from keda_jobs.domain.subjects import STREAM
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import JobProcess, NatsServer, until
from stack.collector import Collector

HERE = Path(__file__).parent


@pytest.fixture
async def client(nats_server: NatsServer, declare: Callable[[], Awaitable[None]]) -> AsyncIterator[Client]:
    """Connect to a server that has the consumer of `traced_job`."""
    await declare()
    async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=False) as connection:
        config = ConsumerConfig(
            durable_name="traced-job-consumer", filter_subject="image-downloaded", ack_policy=AckPolicy.EXPLICIT
        )
        await connection.jetstream.add_consumer(STREAM, config)
        yield connection.client


async def loaded(client: Client, nats_server: NatsServer, tmp_path: Path, **environment: str) -> str:
    """Return the log of `traced_job` after it has received a message."""
    given = nats_server.environment() | {"PYTHONPATH": python_path(HERE)} | environment
    job = JobProcess("traced-job", given, tmp_path / "job.log")
    job.launch()
    try:
        await client.jetstream().publish("image-downloaded", b"{}")
        await until(lambda: "loaded: " in job.log.read_text())
        return job.log.read_text()
    finally:
        await asyncio.to_thread(job.stop)


def python_path(folder: Path) -> str:
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


async def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded(
    client: Client, nats_server: NatsServer, tmp_path: Path
) -> None:
    assert "loaded: []" in await loaded(client, nats_server, tmp_path)


async def test_with_an_endpoint_it_is_and_the_handler_makes_spans_of_its_own(
    client: Client, nats_server: NatsServer, tmp_path: Path, collector: Collector
) -> None:
    said = await loaded(client, nats_server, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert "opentelemetry.sdk.trace" in said
    (own,), (delivery,) = collector.named("own"), collector.named("process image-downloaded")
    assert (own.service, own.parent, own.trace_id) == ("traced-job", delivery.span_id, delivery.trace_id)


COMMANDS = {
    "an event job": (["traced_job"], {}),
    "a batch job": (["users_batch"], {"PG_DSN": "postgresql://a@127.0.0.1:1/a"}),
    "the command": (["keda_jobs.cli", "pub", "a", "{}"], {}),
}


@pytest.mark.parametrize(("module", "environment"), COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("http://127.0.0.1:4318", "traces need keda-jobs[tracing], which is not installed"),
        ("127.0.0.1:4318", "must be a URL such as https://host:443"),
    ],
)
def test_an_endpoint_that_leads_nowhere_is_one_line_and_exit_2(
    tmp_path: Path, module: list[str], environment: dict[str, str], endpoint: str, says: str
) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'opentelemetry'\")"
    (tmp_path / "opentelemetry.py").write_text(missing)
    path = os.pathsep.join([str(tmp_path), python_path(HERE)])
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    done = subprocess.run(
        [sys.executable, "-m", *module],
        env=variables | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    text = json.loads(line)["message"] if line.startswith("{") else line
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in text
    assert says in text
