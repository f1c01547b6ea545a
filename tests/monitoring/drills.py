"""How to break what each alert names, up to the `yield`, and how to mend it, from there."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from nats.aio.client import Client

from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.domain.subjects import STREAM
from stack.streams import apply_streams

from .platform import Platform

Drill = Callable[[Platform], Iterator[None]]

# A picture that was never stored: tried again later.
_NOT_STORED = b'{"key": "images/nobody.png"}'
_ROWS = 300_000
_BETWEEN_EVENTS_S = 0.2


def more_comes_than_is_done(platform: Platform) -> Iterator[None]:
    """The web answers nothing, which takes all slots, and events keep coming."""
    enough = threading.Event()
    event = _download(platform)

    def publish() -> None:
        while not enough.wait(_BETWEEN_EVENTS_S):
            platform.publish("image-download", event)

    publisher = threading.Thread(target=publish)
    with platform.silence():
        publisher.start()
        try:
            yield
        finally:
            enough.set()
            publisher.join()


def job_at_zero(platform: Platform) -> Iterator[None]:
    """An event for a job without a pod."""
    platform.stop_job("image-resize")
    platform.publish("image-downloaded", _NOT_STORED)
    yield
    platform.start_job("image-resize")


def poison(platform: Platform) -> Iterator[None]:
    """An event that no job can read. There is nothing to mend."""
    platform.publish("image-download", b"poison")
    yield


def hanging_message(platform: Platform) -> Iterator[None]:
    """A picture whose server answers nothing."""
    with platform.silence():
        platform.publish("image-download", _download(platform))
        yield


def retry_without_room(platform: Platform) -> Iterator[None]:
    """A retry that comes due while the storage is full: NATS does not give it out, not even when there is room again.

    Seen with nats-server 2.15.1; it does so after a restart.
    """
    message = Message("image-download", _download(platform), {}, "drill", 1, 1, datetime.now(UTC))
    retry = scheduled_retry(message, "image-download", 2, datetime.now(UTC))

    async def schedule(client: Client) -> None:
        await client.jetstream().publish(retry.subject, retry.data, headers=dict(retry.headers))

    platform.with_nats(schedule)
    platform.fill(1)
    yield
    platform.empty()
    platform.nats.restart()


def frozen_loop(platform: Platform) -> Iterator[None]:
    """A process that does nothing any more."""
    platform.freeze("image-resize")
    yield
    platform.thaw("image-resize")


def store_down(platform: Platform) -> Iterator[None]:
    """A job needs the store, which is not there."""
    platform.s3.kill()
    platform.publish("image-downloaded", _NOT_STORED)
    yield
    platform.s3.start()


def nats_down(platform: Platform) -> Iterator[None]:
    """No loop can fetch."""
    platform.nats.kill()
    yield
    platform.nats.start()


def worker_killed(platform: Platform) -> Iterator[None]:
    """A worker dies with rows in hand, and none comes after it."""
    platform.insert_users(_ROWS)
    worker = platform.worker()
    worker.start()  # it answers from its first claim on
    worker.kill()
    yield
    platform.work_off()


def no_worker(platform: Platform) -> Iterator[None]:
    """Rows that nobody claims."""
    platform.insert_users(1)
    yield
    platform.work_off()


def scaler_fails(platform: Platform) -> Iterator[None]:
    """What KEDA would count; see `KedaPage`."""
    platform.keda.fails = True
    yield
    platform.keda.fails = False


def storage_nearly_full(platform: Platform) -> Iterator[None]:
    """More than 80 % of it, and still room."""
    platform.fill(0.9)
    yield
    platform.empty()


def consumer_deleted(platform: Platform) -> Iterator[None]:
    """By hand, say."""

    async def delete(client: Client) -> None:
        await client.jetstream().delete_consumer(STREAM, "image-resize-consumer")

    platform.with_nats(delete)
    yield
    asyncio.run(apply_streams(platform.nats.url))


def exporter_down(platform: Platform) -> Iterator[None]:
    """Its process is killed."""
    platform.exporter.kill()
    yield
    platform.exporter.start()


def _download(platform: Platform) -> bytes:
    return json.dumps({"url": f"{platform.silent_url}/a.png"}).encode()


DRILLS: dict[str, Drill] = {
    "KedaJobsLagGrowing": more_comes_than_is_done,
    "KedaJobsNotScaledUp": job_at_zero,
    "KedaJobsDeadLettersArriving": poison,
    "KedaJobsOldestMessageTooOld": hanging_message,
    "KedaJobsRetryOverdue": retry_without_room,
    "KedaJobsLoopDoesNotPoll": frozen_loop,
    "KedaJobsStoreFailing": store_down,
    "KedaJobsPaused": nats_down,
    "KedaJobsBatchesStale": worker_killed,
    "KedaJobsQueueNotWorkedOff": no_worker,
    "KedaJobsScalerErrors": scaler_fails,
    "KedaJobsStorageFull": storage_nearly_full,
    "KedaJobsConsumerMissing": consumer_deleted,
    "KedaJobsExporterDown": exporter_down,
}
# What else is true then, and may fire as well.
FOLLOWING: dict[str, set[str]] = {
    "KedaJobsRetryOverdue": {"KedaJobsStorageFull"},
    "KedaJobsStoreFailing": {"KedaJobsPaused"},
    "KedaJobsPaused": {"KedaJobsExporterDown"},
    "KedaJobsConsumerMissing": {"KedaJobsPaused"},
}
