"""A real server accepts the declared streams and consumers unchanged."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import nats
import pytest

from keda_jobs.event.job import EventJob
from stack import NatsServer, job_names
from stack.jobs import ROOT

STREAM = json.loads((ROOT / "jobs/stream.json").read_text())
STREAMS = {path.name: json.loads(path.read_text()) for path in ROOT.glob("jobs/stream*.json")}
CONSUMERS = {job: json.loads((ROOT / "jobs" / job / "consumer.json").read_text()) for job in job_names(EventJob)}


async def test_the_server_keeps_every_declared_field(
    declare: Callable[..., Awaitable[None]], nats_server: NatsServer
) -> None:
    await declare()
    client = await nats.connect(nats_server.url)
    found = {}
    for file, stream in STREAMS.items():
        answer = await client.request(f"$JS.API.STREAM.INFO.{stream['name']}")
        found[file] = json.loads(answer.data)["config"]
    for job in CONSUMERS:
        answer = await client.request(f"$JS.API.CONSUMER.INFO.{STREAM['name']}.{job}-consumer")
        found[job] = json.loads(answer.data)["config"]
    await client.close()
    for name, declared in [*STREAMS.items(), *CONSUMERS.items()]:
        # The server leaves out what is false.
        assert {field: found[name].get(field, False) for field in declared} == declared


def test_the_stream_outlives_the_longest_chain_of_retries() -> None:
    assert STREAM["max_age"] == timedelta(days=14) / timedelta(microseconds=1) * 1000
    assert STREAM["max_bytes"] == -1
    assert STREAM["retention"] == "limits"


@pytest.mark.parametrize("job", CONSUMERS)
def test_the_loop_and_not_the_server_counts_deliveries(job: str) -> None:
    assert CONSUMERS[job]["max_deliver"] == -1
    assert "backoff" not in CONSUMERS[job]
