"""The log lines of a running job and of a running worker have exactly the keys that docs/observability.md names."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nats
import pytest

from stack import JobProcess, NatsServer, PostgresServer, S3Server, until
from stack.jobs import ROOT

PAGE = (ROOT / "docs" / "observability.md").read_text()
OUTCOMES = ("acked", "retried", "dead_lettered", "returned")
# A picture of one pixel.
GIF = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")

StartJob = Callable[..., JobProcess]
Line = dict[str, Any]


def keys_of(outcome: str) -> list[str]:
    """Return the documented keys of a line about a delivery that ended as `outcome`, in the order of the page."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", PAGE, re.MULTILINE)
    on = ["every line", "every outcome", *(["all but `acked`"] if outcome != "acked" else [])]
    return [key for key, condition in rows if condition in on or f"`{outcome}`" in condition.split(", ")]


def batch_keys() -> list[str]:
    """Return the documented keys of a line about a batch."""
    every = ["time", "level", "job", "message"]
    return every + re.findall(r"^\| `(\w+)` \| [^|]* \|$", PAGE, re.MULTILINE)


def examples() -> list[Line]:
    return [json.loads(text) for text in re.findall(r"^```json\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)]


def lines(text: str) -> list[Line]:
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


async def publish(server: NatsServer, *keys: str) -> None:
    client = await nats.connect(server.url)
    for key in keys:
        await client.jetstream().publish("image-downloaded", json.dumps({"key": key}).encode())
    await client.close()


def is_at_work(job: JobProcess) -> bool:
    with urllib.request.urlopen(f"{job.http_url}/metrics", timeout=30) as response:
        page = response.read().decode()
    # More than one where the missing picture is just tried again.
    return re.search(r'^keda_jobs_messages_in_flight\{job="image-resize"\} [1-9]', page, re.MULTILINE) is not None


@pytest.fixture
async def job(start_job: StartJob, declare: Callable[..., Awaitable[None]], s3_server: S3Server) -> JobProcess:
    """Start a job with one picture in its bucket."""
    await declare()
    images = s3_server.bucket_folder / "images"
    images.mkdir()
    (images / "good.gif").write_bytes(GIF)
    return start_job("image-resize", RETRY_STEP_S="0.1", SHUTDOWN_GRACE_S="0.1")


async def test_every_outcome_has_one_line_with_the_documented_keys(
    job: JobProcess, nats_server: NatsServer, s3_server: S3Server
) -> None:
    def found() -> dict[str, Line]:
        return {line["outcome"]: line for line in lines(job.log.read_text()) if "msg_id" in line}

    await publish(nats_server, "images/good.gif", "images/none.gif", "foreign")
    await until(lambda: {"acked", "retried", "dead_lettered"} <= found().keys())
    s3_server.signal(signal.SIGSTOP)
    await publish(nats_server, "images/good.gif")
    await until(lambda: is_at_work(job))
    job.signal(signal.SIGTERM)
    await until(lambda: not job.alive)
    assert {outcome: list(line) for outcome, line in found().items()} == {
        outcome: keys_of(outcome) for outcome in OUTCOMES
    }


def test_a_batch_has_a_line_with_the_documented_keys(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "PG_DSN": postgres_server.dsn_of(database), "HTTP_PORT": "0"}
    seed = ["users-batch-seed", "all", "--rows", "100", "--out", str(tmp_path / "users")]
    subprocess.run(seed, env=environment, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-m", "users_batch"], env=environment, check=True, capture_output=True, text=True
    )
    [line] = [line for line in lines(done.stderr) if "batch_id" in line]
    assert list(line) == batch_keys()


def test_the_examples_have_the_documented_keys() -> None:
    outcome, batch = examples()
    assert list(outcome) == keys_of(outcome["outcome"])
    assert list(batch) == batch_keys()
