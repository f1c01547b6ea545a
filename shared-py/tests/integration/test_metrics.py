"""Metrics of a running event job: each number moves when it should."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Iterator
from io import BytesIO

import nats
import pytest
from PIL import Image
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse

from stack import JobProcess, NatsServer, S3Server, until

JOB = "image-resize"
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
STRANGE = "what-a-stranger-wrote"

StartJob = Callable[..., JobProcess]
Declare = Callable[..., Awaitable[None]]

parse_openmetrics: Callable[[str], Iterable[Metric]] = text_string_to_metric_families


def scraped(job: JobProcess, accept: str = "*/*") -> tuple[str, str]:
    """Return the content type and the text of `/metrics`."""
    request = urllib.request.Request(f"{job.http_url}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.headers["Content-Type"], response.read().decode()


def families(job: JobProcess) -> Iterator[Metric]:
    yield from parse(scraped(job)[1])


def value(job: JobProcess, name: str, **labels: str) -> float:
    """Return the value of one series of the job. `name` has no prefix."""
    labels = {"job": JOB, **labels}
    samples = [sample for family in families(job) for sample in family.samples]
    [value] = [sample.value for sample in samples if sample.name == f"keda_jobs_{name}" and sample.labels == labels]
    return value


def picture() -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").save(file, "PNG")
    return file.getvalue()


async def publish(server: NatsServer, *bodies: bytes) -> None:
    client = await nats.connect(server.url)
    for body in bodies:
        await client.jetstream().publish("image-downloaded", body, headers={"Origin": STRANGE})
    await client.close()


def event(key: str) -> bytes:
    return json.dumps({"key": key}).encode()


@pytest.fixture
def good(s3_server: S3Server) -> bytes:
    """Store a picture and return its event."""
    images = s3_server.bucket_folder / "images"
    images.mkdir()
    (images / "good.png").write_bytes(picture())
    return event("images/good.png")


async def test_outcomes_deliveries_retries_dead_letters_and_the_store_are_counted(
    start_job: StartJob, declare: Declare, nats_server: NatsServer, good: bytes
) -> None:
    await declare()
    job = start_job(JOB, CONCURRENCY="3", RETRY_STEP_S="0.1", SLO_OBJECTIVE="99.5", SLO_WITHIN_S="86400")
    await publish(nats_server, good, event(f"images/{STRANGE}.png"), event(STRANGE), STRANGE.encode())

    def dead() -> float:
        return value(job, "messages_total", outcome="dead_lettered")

    await until(lambda: dead() == 3 and value(job, "messages_total", outcome="acked") == 1)
    assert value(job, "messages_total", outcome="retried") == 2
    assert value(job, "message_duration_seconds_count") == 6
    assert value(job, "message_deliveries_count") == 4
    assert value(job, "message_deliveries_bucket", le="1.0") == 3
    assert value(job, "message_deliveries_bucket", le="3.0") == 4
    assert value(job, "message_settled_after_seconds_count", outcome="acked") == 1
    assert value(job, "message_settled_after_seconds_count", outcome="dead_lettered") == 3
    # One of them waited for two retries.
    assert value(job, "message_settled_after_seconds_sum", outcome="dead_lettered") > 0.1 + 0.2
    assert value(job, "slo_messages_total", kept="yes") == 1
    assert value(job, "slo_messages_total", kept="no") == 3
    assert value(job, "slo_objective_ratio") == 0.995
    assert value(job, "slo_within_seconds") == 86_400
    assert value(job, "retry_delay_seconds_count") == 2
    assert value(job, "retry_delay_seconds_sum") == pytest.approx(0.1 + 0.2)
    for error_class in ("ObjectMissing", "ForeignKey", "InvalidEvent"):
        assert value(job, "dead_letters_total", error_class=error_class) == 1
    assert value(job, "concurrency_limit") == 3
    assert value(job, "messages_in_flight") == 0
    assert value(job, "store_operation_duration_seconds_count", operation="put", outcome="ok") == 1
    assert value(job, "store_operation_duration_seconds_count", operation="get", outcome="failed") == 0
    assert value(job, "store_bytes_total", operation="get") == len(picture())
    assert value(job, "store_bytes_total", operation="put") > 0
    assert STRANGE not in scraped(job)[1]


async def test_an_unavailable_store_pauses_the_job(
    start_job: StartJob, declare: Declare, nats_server: NatsServer, s3_server: S3Server, good: bytes
) -> None:
    await declare()
    job = start_job(JOB)
    assert value(job, "paused") == 0
    s3_server.stop()
    await publish(nats_server, good)
    await until(lambda: value(job, "paused") == 1)
    assert value(job, "messages_in_flight") == 1
    assert value(job, "store_operation_duration_seconds_count", operation="get", outcome="unavailable") > 0
    s3_server.start()
    await until(lambda: value(job, "messages_total", outcome="acked") == 1)
    assert value(job, "paused") == 0


async def test_a_lost_connection_to_nats_pauses_the_job_and_is_counted_once_restored(
    start_job: StartJob, declare: Declare, nats_server: NatsServer
) -> None:
    await declare()
    job = start_job(JOB)
    assert value(job, "reconnects_total") == 0
    nats_server.kill()
    await until(lambda: value(job, "paused") == 1)
    nats_server.start()
    await until(lambda: value(job, "paused") == 0)
    await until(lambda: value(job, "reconnects_total") == 1)


async def test_the_age_of_the_last_fetch_grows_at_the_concurrency_limit(
    start_job: StartJob, declare: Declare, nats_server: NatsServer, s3_server: S3Server, good: bytes
) -> None:
    await declare()
    job = start_job(JOB, CONCURRENCY="1")
    s3_server.signal(signal.SIGSTOP)
    await publish(nats_server, good)
    await until(lambda: value(job, "messages_in_flight") == 1)
    await until(lambda: value(job, "fetch_age_seconds") > 3)
    s3_server.signal(signal.SIGCONT)
    await until(lambda: value(job, "messages_total", outcome="acked") == 1)
    await until(lambda: value(job, "fetch_age_seconds") < 3)


async def test_metrics_are_openmetrics_for_clients_that_accept_it(start_job: StartJob, declare: Declare) -> None:
    await declare()
    job = start_job(JOB)
    content_type, text = scraped(job, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert {family.name for family in parse_openmetrics(text)} == {family.name for family in families(job)}
    assert text.endswith("# EOF\n")
    assert scraped(job)[0].startswith("text/plain")
