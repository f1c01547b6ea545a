"""Drills: each breaks what an alert names, up to its `yield`, and repairs it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.delay import delayed
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.domain.subjects import BACKUP_STREAM, STREAM, due_subject
from stack import wait_until
from stack.streams import apply_streams

from .platform import PICTURE, Platform

Drill = Callable[[Platform], Iterator[None]]

# A picture that was never stored, so its event is retried.
_NOT_STORED = b'{"key": "images/nobody.png"}'
_STORED = json.dumps({"key": PICTURE}).encode()
_SEVERAL = 12
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
            # They would all fail at the end of the silence, which is what another drill does.
            platform.forget(STREAM, "image-download")


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


def bad_events(platform: Platform) -> Iterator[None]:
    """Publish events that no job can read, and then so many good ones that the promise is kept all the same."""
    platform.publish("image-downloaded", *[b"poison"] * _SEVERAL)
    yield
    platform.publish("image-downloaded", *[_STORED] * 15 * _SEVERAL)


def failing_job(platform: Platform) -> Iterator[None]:
    """Publish events that the job can only put off."""
    platform.publish("image-downloaded", *[_NOT_STORED] * _SEVERAL)
    yield
    platform.forget_retries()


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
    yield from _overdue(platform, retry, due_subject("image-download"))


def overdue_delayed_event(platform: Platform) -> Iterator[None]:
    """Let an event become due while the storage is full. NATS treats it as it does a retry."""
    event = Outgoing("image-downloaded", _NOT_STORED, "drill")
    later = delayed(event, datetime.now(UTC) + timedelta(seconds=2))
    yield from _overdue(platform, later, event.subject)
    platform.forget_retries()


def _overdue(platform: Platform, scheduled: Outgoing, arrives_at: str) -> Iterator[None]:
    """Publish a schedule, fill the storage until it is due, and let it arrive afterwards."""

    async def schedule(client: Client) -> None:
        await client.jetstream().publish(scheduled.subject, scheduled.data, headers=dict(scheduled.headers))

    async def arrived(client: Client) -> int:
        info = await client.jetstream().stream_info(STREAM, subjects_filter=arrives_at)
        return (info.state.subjects or {}).get(arrives_at, 0)

    before = platform.with_nats(arrived)
    platform.with_nats(schedule)
    platform.fill(1)
    yield
    platform.empty()
    platform.nats.restart()
    # The events stream takes it some ten seconds later. For rules that run sixty times as fast these are ten minutes.
    wait_until(lambda: platform.with_nats(arrived) > before, _DELIVERY_S)


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


def bad_rows(platform: Platform) -> Iterator[None]:
    """Let workers give rows up."""
    platform.insert_nobodies(_SEVERAL)
    platform.work_off()
    yield
    platform.delete_users()


def keda_not_scraped(platform: Platform) -> Iterator[None]:
    """Take KEDA's operator from the targets."""
    platform.keda_is_scraped = False
    platform.scrape()
    yield
    platform.keda_is_scraped = True
    platform.scrape()


def server_lost(platform: Platform) -> Iterator[None]:
    """Kill one of three NATS servers."""
    with platform.cluster() as servers:
        servers[0].kill()
        yield


def quorum_lost(platform: Platform) -> Iterator[None]:
    """Kill two of three NATS servers."""
    with platform.cluster() as servers:
        servers[0].kill()
        servers[1].kill()
        yield


def write_fails(platform: Platform) -> Iterator[None]:
    """Let NATS fail to store a message that no job reads. There is room again at once, and it does not notice."""
    with platform.nats.without_room(), contextlib.suppress(TimeoutError):
        platform.publish("retry.wait.filler", b"x")
    yield
    platform.nats.restart()


def certificate_expires(platform: Platform) -> Iterator[None]:
    """Show a certificate for a day, and then one for a year."""
    with platform.encrypted() as show:
        show(1)
        yield
        show(365)


def scaler_fails(platform: Platform) -> Iterator[None]:
    """Count errors as KEDA would. See `KedaPage`."""
    platform.keda.fails = True
    yield
    platform.keda.fails = False


def storage_filling(platform: Platform) -> Iterator[None]:
    """Fill half of the storage within a moment."""
    platform.fill(0.5)
    yield
    platform.empty()


def storage_nearly_full(platform: Platform) -> Iterator[None]:
    """Fill more than 80 % of the storage."""
    platform.fill(0.9)
    yield
    platform.empty()


def backups_fail(platform: Platform) -> Iterator[None]:
    """Take a backup to a place that does not exist, then one to a folder, and then none any more."""
    assert not platform.back_up("/dev/null/backups")
    yield
    assert platform.back_up(platform.backups)
    platform.forget(BACKUP_STREAM, ">")


def consumer_deleted(platform: Platform) -> Iterator[None]:
    """Delete a consumer, as somebody might by hand."""

    async def delete(client: Client) -> None:
        await client.jetstream().delete_consumer(STREAM, "image-resize-consumer")

    platform.with_nats(delete)
    yield
    # A new consumer begins with the oldest event. What earlier drills have poisoned would become dead letters again.
    platform.forget(STREAM, "image-downloaded")
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
    "KedaJobsDelayedEventOverdue": overdue_delayed_event,
    "KedaJobsLoopDoesNotPoll": frozen_loop,
    "KedaJobsStoreFailing": store_down,
    "KedaJobsNatsTrouble": consumer_deleted,
    "KedaJobsNatsTroubleLasts": nats_down,
    "KedaJobsPaused": nats_down,
    "KedaJobsRetriesPilingUp": failing_job,
    "KedaJobsMostMessagesFailing": failing_job,
    "KedaJobsNothingSettled": hanging_message,
    "KedaJobsBudgetBurnsFast": bad_events,
    "KedaJobsBudgetBurnsSlowly": bad_events,
    "KedaJobsBatchesStale": worker_killed,
    "KedaJobsQueueRowsStranded": rows_stranded,
    "KedaJobsQueueRowsSetAside": rows_set_aside,
    "KedaJobsQueueNotChecked": checks_stopped,
    "KedaJobsQueueNotWorkedOff": no_worker,
    "KedaJobsRowsGivenUp": bad_rows,
    "KedaJobsMostRowsFailing": bad_rows,
    "KedaJobsNoRowSettled": worker_killed,
    "KedaJobsScalerErrors": scaler_fails,
    "KedaJobsKedaNotScraped": keda_not_scraped,
    "KedaJobsStorageFull": storage_nearly_full,
    "KedaJobsStorageFilling": storage_filling,
    "KedaJobsNatsNoLeader": quorum_lost,
    "KedaJobsNatsReplicasBehind": server_lost,
    "KedaJobsStreamWriteFailed": write_fails,
    "KedaJobsCertificateExpires": certificate_expires,
    "KedaJobsBackupTooOld": backups_fail,
    "KedaJobsConsumerMissing": consumer_deleted,
    "KedaJobsExporterDown": exporter_down,
}
# Other alerts that may fire in a drill, because what they name is true as well.
_FAILING = {"KedaJobsRetriesPilingUp", "KedaJobsMostMessagesFailing"}
_LATE = {"KedaJobsBudgetBurnsFast", "KedaJobsBudgetBurnsSlowly", "KedaJobsMostMessagesFailing"}
_HANGING = {"KedaJobsNothingSettled", "KedaJobsOldestMessageTooOld"}
_BAD_ROWS = {"KedaJobsRowsGivenUp", "KedaJobsMostRowsFailing"}
_FULL = {"KedaJobsStorageFull", "KedaJobsStorageFilling"}
_DOWN = {"KedaJobsNatsNoLeader", "KedaJobsNatsReplicasBehind"}
RELATED: dict[str, set[str]] = {
    "KedaJobsLagGrowing": _HANGING,
    "KedaJobsOldestMessageTooOld": _HANGING,
    "KedaJobsNothingSettled": _HANGING,
    "KedaJobsRetryOverdue": _FULL,
    "KedaJobsDelayedEventOverdue": _FULL,
    "KedaJobsStoreFailing": {"KedaJobsPaused", "KedaJobsNothingSettled"},
    "KedaJobsNatsTrouble": {"KedaJobsConsumerMissing", "KedaJobsNatsTroubleLasts", "KedaJobsPaused"},
    "KedaJobsNatsTroubleLasts": {"KedaJobsExporterDown", "KedaJobsNatsTrouble", "KedaJobsPaused"},
    "KedaJobsPaused": {"KedaJobsExporterDown", "KedaJobsNatsTrouble", "KedaJobsNatsTroubleLasts"},
    "KedaJobsRetriesPilingUp": _FAILING,
    "KedaJobsMostMessagesFailing": _FAILING,
    "KedaJobsBudgetBurnsFast": {*_LATE, "KedaJobsDeadLettersArriving"},
    "KedaJobsBudgetBurnsSlowly": {*_LATE, "KedaJobsDeadLettersArriving"},
    "KedaJobsBatchesStale": {"KedaJobsNoRowSettled"},
    "KedaJobsNoRowSettled": {"KedaJobsBatchesStale"},
    "KedaJobsRowsGivenUp": _BAD_ROWS,
    "KedaJobsMostRowsFailing": _BAD_ROWS,
    "KedaJobsStorageFull": _FULL,
    "KedaJobsStorageFilling": _FULL,
    "KedaJobsNatsNoLeader": _DOWN,
    "KedaJobsNatsReplicasBehind": _DOWN,
    "KedaJobsConsumerMissing": {"KedaJobsNatsTrouble", "KedaJobsNatsTroubleLasts", "KedaJobsPaused"},
}
