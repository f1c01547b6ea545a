"""Drills: each breaks what an alert names, up to its `yield`, and repairs it afterwards."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from nats.aio.client import Client

from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.domain.subjects import STREAM, due_subject
from stack import wait_until
from stack.streams import apply_streams

from .platform import Platform

Drill = Callable[[Platform], Iterator[None]]

# A picture that was never stored, so its event is retried.
_NOT_STORED = b'{"key": "images/nobody.png"}'
_ROWS = 300_000
_BETWEEN_EVENTS_S = 0.2
_DELIVERY_S = 90.0


def overload(platform: Platform) -> Iterator[None]:
    """Publish events for a silent server until all pods are at their concurrency limit."""
    stop = threading.Event()
    event = _download(platform)

    def publish() -> None:
        while not stop.wait(_BETWEEN_EVENTS_S):
            platform.publish("image-download", event)

    publisher = threading.Thread(target=publish)
    with platform.silence():
        publisher.start()
        try:
            yield
        finally:
            stop.set()
            publisher.join()


def job_at_zero(platform: Platform) -> Iterator[None]:
    """Publish an event for a job without a pod."""
    platform.stop_job("image-resize")
    platform.publish("image-downloaded", _NOT_STORED)
    yield
    platform.start_job("image-resize")


def poison(platform: Platform) -> Iterator[None]:
    """Publish an event that no job can read. There is nothing to repair."""
    platform.publish("image-download", b"poison")
    yield


def hanging_message(platform: Platform) -> Iterator[None]:
    """Publish an event for a silent server."""
    with platform.silence():
        platform.publish("image-download", _download(platform))
        yield


def overdue_retry(platform: Platform) -> Iterator[None]:
    """Let a retry become due while the storage is full.

    NATS does not fire it, not even once there is room again. Seen with nats-server 2.15.1. A restart fires it.
    """
    message = Message(
        "image-download", _download(platform), {}, Identity("image-download", 1, 1), 1, 1, datetime.now(UTC)
    )
    retry = scheduled_retry(message, "image-download", 2, datetime.now(UTC))

    async def schedule(client: Client) -> None:
        await client.jetstream().publish(retry.subject, retry.data, headers=dict(retry.headers))

    async def has_arrived(client: Client) -> bool:
        info = await client.jetstream().stream_info(STREAM, subjects_filter=due_subject("image-download"))
        return bool(info.state.subjects)

    platform.with_nats(schedule)
    platform.fill(1)
    yield
    platform.empty()
    platform.nats.restart()
    # The events stream takes it some ten seconds later. For rules that run sixty times as fast these are ten minutes.
    wait_until(lambda: platform.with_nats(has_arrived), _DELIVERY_S)


def frozen_loop(platform: Platform) -> Iterator[None]:
    """Freeze the process of a job."""
    platform.jobs["image-resize"].signal(signal.SIGSTOP)
    yield
    platform.jobs["image-resize"].signal(signal.SIGCONT)


def store_down(platform: Platform) -> Iterator[None]:
    """Kill the store and publish an event that needs it."""
    platform.s3.kill()
    platform.publish("image-downloaded", _NOT_STORED)
    yield
    platform.s3.start()


def nats_down(platform: Platform) -> Iterator[None]:
    """Kill NATS, so that no loop can fetch."""
    platform.nats.kill()
    yield
    platform.nats.start()


def worker_killed(platform: Platform) -> Iterator[None]:
    """Kill a worker that holds rows, and start no other."""
    platform.insert_users(_ROWS)
    worker = platform.worker()
    worker.start()  # it is ready after its first claim
    worker.kill()
    yield
    platform.work_off()


def no_worker(platform: Platform) -> Iterator[None]:
    """Insert rows that nobody claims."""
    platform.insert_users(1)
    yield
    platform.work_off()


def rows_stranded(platform: Platform) -> Iterator[None]:
    """Lose the ranges of rows, and compare the two."""
    platform.insert_users(1)
    platform.lose_ranges()
    platform.check_queue(repair=False)
    yield
    platform.check_queue(repair=True)
    platform.work_off()


def rows_set_aside(platform: Platform) -> Iterator[None]:
    """Set a row aside for good, and let it be tried again."""
    platform.insert_users(1)
    platform.set_rows_aside()
    yield
    platform.try_rows_again()
    platform.work_off()


def checks_stopped(platform: Platform) -> Iterator[None]:
    """Let nine days pass after the last of several checks."""
    platform.age_checks()
    yield
    platform.check_queue(repair=False)


def scaler_fails(platform: Platform) -> Iterator[None]:
    """Count errors as KEDA would. See `KedaPage`."""
    platform.keda.fails = True
    yield
    platform.keda.fails = False


def storage_nearly_full(platform: Platform) -> Iterator[None]:
    """Fill more than 80 % of the storage."""
    platform.fill(0.9)
    yield
    platform.empty()


def consumer_deleted(platform: Platform) -> Iterator[None]:
    """Delete a consumer, as somebody might by hand."""

    async def delete(client: Client) -> None:
        await client.jetstream().delete_consumer(STREAM, "image-resize-consumer")

    platform.with_nats(delete)
    yield
    asyncio.run(apply_streams(platform.nats.url))


def exporter_down(platform: Platform) -> Iterator[None]:
    """Kill the exporter."""
    platform.exporter.kill()
    yield
    platform.exporter.start()


def _download(platform: Platform) -> bytes:
    return json.dumps({"url": f"{platform.silent_url}/a.png"}).encode()


DRILLS: dict[str, Drill] = {
    "KedaJobsLagGrowing": overload,
    "KedaJobsNotScaledUp": job_at_zero,
    "KedaJobsDeadLettersArriving": poison,
    "KedaJobsOldestMessageTooOld": hanging_message,
    "KedaJobsRetryOverdue": overdue_retry,
    "KedaJobsLoopDoesNotPoll": frozen_loop,
    "KedaJobsStoreFailing": store_down,
    "KedaJobsNatsTrouble": consumer_deleted,
    "KedaJobsPaused": nats_down,
    "KedaJobsBatchesStale": worker_killed,
    "KedaJobsQueueRowsStranded": rows_stranded,
    "KedaJobsQueueRowsSetAside": rows_set_aside,
    "KedaJobsQueueNotChecked": checks_stopped,
    "KedaJobsQueueNotWorkedOff": no_worker,
    "KedaJobsScalerErrors": scaler_fails,
    "KedaJobsStorageFull": storage_nearly_full,
    "KedaJobsConsumerMissing": consumer_deleted,
    "KedaJobsExporterDown": exporter_down,
}
# Other alerts that may fire in a drill, because what they name is true as well.
RELATED: dict[str, set[str]] = {
    "KedaJobsRetryOverdue": {"KedaJobsStorageFull"},
    "KedaJobsStoreFailing": {"KedaJobsPaused"},
    "KedaJobsNatsTrouble": {"KedaJobsConsumerMissing", "KedaJobsPaused"},
    "KedaJobsPaused": {"KedaJobsExporterDown", "KedaJobsNatsTrouble"},
    "KedaJobsConsumerMissing": {"KedaJobsNatsTrouble", "KedaJobsPaused"},
}
