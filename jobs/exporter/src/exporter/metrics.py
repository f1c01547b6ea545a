"""Metrics that the exporter serves at `/metrics`, their labels, and the conversion of snapshots to samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exporter.snapshots import ConsumerSnapshot, QueueSnapshot, ServerSnapshot, Storage, StreamSnapshot
from keda_jobs.status.dead_letters import DeadLetterCounts
from keda_jobs.status.delayed_events import DelayedEvents
from keda_jobs.status.queues import CurrentHold
from keda_jobs.status.stream import WaitingRetries

UNKNOWN_JOB = "unknown"
"""`job` of dead letters whose job has had no consumer since the start. A label never holds text from a message."""

_JOB = ("job",)
_CONSUMER = ("job", "consumer")
_SOURCE = ("source",)
_STREAM = ("stream",)

GAUGES = (
    ("keda_jobs_stream_messages", "Messages in the stream", _STREAM),
    ("keda_jobs_stream_bytes", "Size of the stream", _STREAM),
    ("keda_jobs_stream_replicas_behind", "Replicas that are offline or behind the stream's leader", _STREAM),
    ("keda_jobs_stream_leaderless", "1 while the stream has no leader, else 0", _STREAM),
    (
        "keda_jobs_stream_write_failed",
        "1 after the NATS server failed to write the stream, which it then refuses until a restart, else 0",
        _STREAM,
    ),
    ("keda_jobs_jetstream_storage_bytes", "JetStream's storage in use", ()),
    ("keda_jobs_jetstream_storage_max_bytes", "Limit of JetStream's storage", ()),
    (
        "keda_jobs_nats_certificate_expiry_timestamp_seconds",
        "Time at which the certificate expires that NATS shows to clients, absent without TLS",
        (),
    ),
    ("keda_jobs_consumer_pending", "Messages not yet delivered", _CONSUMER),
    ("keda_jobs_consumer_ack_pending", "Messages delivered and not yet acked", _CONSUMER),
    ("keda_jobs_consumer_lag", "Messages not yet acked, the number that KEDA scales on", _CONSUMER),
    ("keda_jobs_consumer_redelivered", "Messages in flight that were delivered more than once", _CONSUMER),
    ("keda_jobs_consumer_waiting_pulls", "Pull requests that wait for messages", _CONSUMER),
    ("keda_jobs_consumer_oldest_age_seconds", "Age of the oldest unacked message, 0 without one", _CONSUMER),
    ("keda_jobs_consumer_last_ack_timestamp_seconds", "Time of the last ack, absent after NATS started", _CONSUMER),
    ("keda_jobs_waiting_retries", "Retries that are not in the events stream yet", _JOB),
    ("keda_jobs_waiting_retry_next_due_timestamp_seconds", "Due time of the next retry, absent without one", _JOB),
    ("keda_jobs_delayed_events", "Events that NATS is to publish later, and schedules that repeat", ()),
    (
        "keda_jobs_delayed_events_overdue",
        "Events for later that have been due for over a minute and are not published",
        (),
    ),
    (
        "keda_jobs_delayed_event_next_due_timestamp_seconds",
        "Due time of the next event for later, absent without one",
        (),
    ),
    ("keda_jobs_dead_letters_stored", "Dead letters in the stream", _JOB),
    ("keda_jobs_dead_letter_oldest_age_seconds", "Age of the oldest dead letter, 0 without one", _JOB),
    (
        "keda_jobs_last_backup_timestamp_seconds",
        "Time at which the last complete backup began, 0 before the first one, absent without backups",
        (),
    ),
    ("keda_jobs_queue_claimable_rows", "Rows that a worker can claim, the number that KEDA scales on", _JOB),
    ("keda_jobs_queue_waiting_rows", "Rows that are not due yet, or set aside", _JOB),
    ("keda_jobs_queue_rows_failed_permanently", "Rows that have failed permanently, and were not put back", _JOB),
    ("keda_jobs_queue_set_aside_rows", "Rows that cannot be written and are not tried again", _JOB),
    ("keda_jobs_queue_hold_seconds", "Time until the hold of the queue ends, 0 without one", _JOB),
    ("keda_jobs_queue_batches_running", "Batches that a worker holds", _JOB),
    ("keda_jobs_queue_batches_stale", "Running batches whose lease has expired", _JOB),
    (
        "keda_jobs_queue_heartbeat_age_seconds",
        "Time since the oldest heartbeat of a running batch, 0 without one",
        _JOB,
    ),
    ("keda_jobs_queue_stranded_rows", "Rows that no worker gets, found by the last check, absent without one", _JOB),
    ("keda_jobs_queue_checked_timestamp_seconds", "Time of the last check, absent without one", _JOB),
    ("keda_jobs_queue_check_days", "Days of the last 30 on which a check ran, absent without one", _JOB),
    ("keda_jobs_scrape_ok", "1 if the source was read, else 0", _SOURCE),
    ("keda_jobs_scrape_duration_seconds", "Time it took to read the source", _SOURCE),
)
COUNTERS = (
    ("keda_jobs_queue_rows", "Rows that left a worker, by outcome", ("job", "outcome")),
    ("keda_jobs_queue_batches", "Batches that ended, by status", ("job", "status")),
)


class Sample(NamedTuple):
    """Value of a metric, with its labels in the metric's order."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


class SampleCollector(Collector):
    """Collector of the samples of the last scrape, with a registry of its own."""

    def __init__(self) -> None:
        self._samples: tuple[Sample, ...] = ()
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def replace(self, samples: Iterable[Sample]) -> None:
        """Replace all samples."""
        self._samples = tuple(samples)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, including those without a sample."""
        for kind, definitions in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
            for name, text, labels in definitions:
                family = kind(name, text, labels=labels)
                for sample in self._samples:
                    if sample.name == name:
                        family.add_metric(sample.labels, sample.value)
                yield family


def source_samples(source: str, *, is_ok: bool, duration_s: float) -> Iterator[Sample]:
    """Yield the samples about reading `source`."""
    yield Sample("keda_jobs_scrape_ok", is_ok, (source,))
    yield Sample("keda_jobs_scrape_duration_seconds", duration_s, (source,))


def stream_samples(snapshot: StreamSnapshot) -> Iterator[Sample]:
    """Yield the samples of the streams, their consumers, retries, events for later and dead letters."""
    for stream in snapshot.streams:
        yield Sample("keda_jobs_stream_messages", stream.messages, (stream.name,))
        yield Sample("keda_jobs_stream_bytes", stream.bytes, (stream.name,))
        yield Sample("keda_jobs_stream_replicas_behind", stream.replicas_behind, (stream.name,))
    if snapshot.storage:
        yield from _storage_samples(snapshot.storage)
    if snapshot.last_backup:
        yield Sample("keda_jobs_last_backup_timestamp_seconds", snapshot.last_backup.timestamp())
    for consumer in snapshot.consumers:
        yield from _consumer_samples(consumer, snapshot.now)
    for retries in snapshot.retries:
        yield from _retry_samples(retries)
    yield from _delayed_samples(snapshot.delayed_events)
    if snapshot.dead_letters.is_exact:
        jobs = {retries.job for retries in snapshot.retries}
        yield from _dead_letter_samples(snapshot.dead_letters, jobs, snapshot.now)


def server_samples(snapshot: ServerSnapshot) -> Iterator[Sample]:
    """Yield the samples of a NATS server's own view."""
    for stream, has_leader in snapshot.has_leader.items():
        yield Sample("keda_jobs_stream_leaderless", not has_leader, (stream,))
    for stream, has_failed in snapshot.write_failed.items():
        yield Sample("keda_jobs_stream_write_failed", has_failed, (stream,))
    if snapshot.storage:
        yield from _storage_samples(snapshot.storage)
    if expiry := snapshot.certificate_expires_at:
        yield Sample("keda_jobs_nats_certificate_expiry_timestamp_seconds", expiry.timestamp())


def _storage_samples(storage: Storage) -> Iterator[Sample]:
    yield Sample("keda_jobs_jetstream_storage_bytes", storage.used)
    yield Sample("keda_jobs_jetstream_storage_max_bytes", storage.limit)


def _consumer_samples(consumer: ConsumerSnapshot, now: datetime) -> Iterator[Sample]:
    state = consumer.state
    labels = (state.job, state.name)
    yield Sample("keda_jobs_consumer_pending", state.num_pending, labels)
    yield Sample("keda_jobs_consumer_ack_pending", state.num_ack_pending, labels)
    yield Sample("keda_jobs_consumer_lag", state.lag, labels)
    yield Sample("keda_jobs_consumer_redelivered", state.num_redelivered, labels)
    yield Sample("keda_jobs_consumer_waiting_pulls", state.num_waiting, labels)
    yield Sample("keda_jobs_consumer_oldest_age_seconds", _age_s(consumer.oldest_stored_at, now), labels)
    if state.last_ack:
        yield Sample("keda_jobs_consumer_last_ack_timestamp_seconds", state.last_ack.timestamp(), labels)


def _retry_samples(retries: WaitingRetries) -> Iterator[Sample]:
    yield Sample("keda_jobs_waiting_retries", retries.count, (retries.job,))
    if retries.next_due:
        name = "keda_jobs_waiting_retry_next_due_timestamp_seconds"
        yield Sample(name, retries.next_due.timestamp(), (retries.job,))


def _delayed_samples(delayed: DelayedEvents) -> Iterator[Sample]:
    yield Sample("keda_jobs_delayed_events", delayed.count)
    yield Sample("keda_jobs_delayed_events_overdue", delayed.overdue)
    if delayed.next_due:
        yield Sample("keda_jobs_delayed_event_next_due_timestamp_seconds", delayed.next_due.timestamp())


def _dead_letter_samples(dead_letters: DeadLetterCounts, jobs: set[str], now: datetime) -> Iterator[Sample]:
    counts = dict.fromkeys([*sorted(jobs), UNKNOWN_JOB], 0)
    oldest: dict[str, datetime] = {}
    for name, count in dead_letters.by_job.items():
        job = name if name in jobs else UNKNOWN_JOB
        counts[job] += count
        oldest[job] = min(oldest.get(job, now), dead_letters.oldest[name])
    for job, count in counts.items():
        yield Sample("keda_jobs_dead_letters_stored", count, (job,))
        yield Sample("keda_jobs_dead_letter_oldest_age_seconds", _age_s(oldest.get(job), now), (job,))


def queue_samples(queue: QueueSnapshot) -> Iterator[Sample]:
    """Yield the samples of a claim queue."""
    batches, job = queue.batches, (queue.job,)
    yield Sample("keda_jobs_queue_claimable_rows", queue.claimable, job)
    yield Sample("keda_jobs_queue_waiting_rows", queue.ranges.not_due, job)
    yield Sample("keda_jobs_queue_rows_failed_permanently", queue.failed_permanently, job)
    yield Sample("keda_jobs_queue_set_aside_rows", queue.ranges.set_aside_permanently, job)
    yield Sample("keda_jobs_queue_hold_seconds", _left_s(queue.hold, queue.now), job)
    yield Sample("keda_jobs_queue_batches_running", batches.running, job)
    yield Sample("keda_jobs_queue_batches_stale", batches.stale, job)
    yield Sample("keda_jobs_queue_heartbeat_age_seconds", _age_s(batches.oldest_heartbeat, queue.now), job)
    if check := queue.last_check:
        yield Sample("keda_jobs_queue_stranded_rows", check.stranded_rows, job)
        yield Sample("keda_jobs_queue_checked_timestamp_seconds", check.checked_at.timestamp(), job)
        yield Sample("keda_jobs_queue_check_days", check.days, job)
    for outcome, rows in (
        ("completed", batches.completed),
        ("failed", batches.failed),
        ("returned", batches.returned),
    ):
        yield Sample("keda_jobs_queue_rows", rows, (*job, outcome))
    for status, count in (
        ("completed", batches.batches_completed),
        ("failed", batches.batches_failed),
        ("abandoned", batches.batches_abandoned),
    ):
        yield Sample("keda_jobs_queue_batches", count, (*job, status))


def _age_s(then: datetime | None, now: datetime) -> float:
    return max(0.0, (now - then).total_seconds()) if then else 0.0


def _left_s(hold: CurrentHold | None, now: datetime) -> float:
    return (hold.until - now).total_seconds() if hold else 0.0
