"""Local stack that does everything a dashboard can show, scraped by a real Prometheus.

Pictures succeed, are retried and become dead letters, and a batch worker gets good and bad rows. A page on loopback
stands in for KEDA, with metrics named as in the source of KEDA 2.21.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import nats
from PIL import Image

from dash.prometheus import NAMESPACE, Prometheus
from demo.pictures.web import Answer, WebServer
from demo.users import seed
from keda_jobs.backup.record import backup_name
from keda_jobs.batch import BatchJob
from keda_jobs.domain.subjects import BACKUP_COMPLETE
from keda_jobs.event.job import EventJob
from prometheus_rules import groups
from stack import FREE_PORTS, Authority, BatchWorker, LocalStack, job_names, wait_until
from users_batch.job import JOB

from .grafana import View, query
from .prometheus import speed_up

INTERVAL_S = 1
_FASTER = 60  # some rules count by the minute
_ROWS = 30_000
_PICTURES = 20
_ROUNDS = 3
_KEDA = {"keda_scaler_detail_errors_total": 3, "keda_scaler_active": 1, "keda_scaler_metrics_value": 12}


@dataclass(frozen=True, slots=True)
class Platform:
    """Stack, with the view of a dashboard on it."""

    stack: LocalStack
    view: View


@contextmanager
def busy_platform(folder: Path) -> Iterator[Platform]:
    """Yield the platform once the batch worker is done. The view covers the time until then."""
    with WebServer() as web:
        environment = {"DOWNLOAD_ALLOW_ADDRESSES": web.address, "RETRY_STEP_S": "2"}
        stack = LocalStack(folder / "stack", FREE_PORTS, environment)
        shown = Authority(folder / "certificates").issue("nats")
        stack.nats.extra = f'tls {{ cert_file: "{shown.certificate}", key_file: "{shown.key}" }}\nallow_non_tls: true'
        with stack:
            seed(stack.postgres, _ROWS, folder / "users")
            worker = _worker(stack, folder)
            pages = {job.name: job.http_url for job in stack.jobs}
            targets = {**pages, "batch-worker": worker.http_url, "keda-operator": _keda(web)}
            prometheus = Prometheus(folder / "prometheus", speed_up(groups(), _FASTER), interval_s=INTERVAL_S)
            prometheus.scrape(targets)
            try:
                since = time.time()
                prometheus.start()
                _wait_until_resized(prometheus, 0)
                worker.launch()
                # Several rounds, because a rate needs changes between two scrapes.
                for number in range(1, _ROUNDS + 1):
                    asyncio.run(_publish(stack.nats.url, web, f"/{number}"))
                    _wait_until_resized(prometheus, number * _PICTURES)
                wait_until(lambda: worker.is_done)
                yield Platform(stack, View(prometheus.url, INTERVAL_S, since, time.time()))
            finally:
                worker.kill()
                prometheus.stop()


def _worker(stack: LocalStack, folder: Path) -> BatchWorker:
    """Build a worker with small claims, so that it is busy with many of them for some seconds."""
    environment = {**stack.postgres.environment(), "CLAIM_SIZE": "50"}
    return BatchWorker(JOB.name, environment, folder / "worker.log", "worker-1")


def _keda(web: WebServer) -> str:
    labels = f'namespace="{NAMESPACE}",scaler="s0",triggerIndex="0",metric="m",type="scaledobject"'
    lines = [
        f'{name}{{scaledObject="{job}",{labels}}} {value}\n'
        for name, value in _KEDA.items()
        for job in job_names(EventJob, BatchJob)
    ]
    web.answers["/metrics"] = Answer("".join(lines).encode(), headers={"Content-Type": "text/plain; version=0.0.4"})
    return web.url("/metrics")


def _wait_until_resized(prometheus: Prometheus, pictures: int) -> None:
    """Wait until Prometheus has seen this many pictures pass both jobs. It sees 0 after its first scrape."""
    acked = 'keda_jobs_messages_total{job="image-resize",outcome="acked"}'
    wait_until(lambda: query(prometheus.url, acked, time.time()) == [pictures])


async def _publish(nats_url: str, web: WebServer, folder: str) -> None:
    """Publish good pictures, some that fail at first, one that always fails, missing ones, and a record of a backup."""
    for number in range(_PICTURES):
        web.answers[f"{folder}/{number}.png"] = Answer(_picture(number), refusals=number % 3 == 0)
    web.answers[f"{folder}/never.png"] = Answer(refusals=float("inf"))
    client = await nats.connect(nats_url)
    for path in (*(f"{folder}/{number}.png" for number in range(_PICTURES + 5)), f"{folder}/never.png"):
        await client.jetstream().publish("image-download", json.dumps({"url": web.url(path)}).encode())
    await client.jetstream().publish(BACKUP_COMPLETE, backup_name(datetime.now(UTC)).encode())
    await client.close()


def _picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (240 + number, 160), "teal").save(file, "PNG")
    return file.getvalue()
