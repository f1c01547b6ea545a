"""What the exporter serves at `/metrics`: every metric with its labels, and how the readings become their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exporter.readings import Consumer, QueueReading, StreamReading
from keda_jobs.status.dead_letters import DeadLetters
from keda_jobs.status.retries import WaitingRetries

UNKNOWN = "unknown"
"""The `job` of dead letters that name none with a consumer: a name from a message becomes no label."""

_JOB = ("job",)
_CONSUMER = ("job", "consumer")
_SOURCE = ("source",)

GAUGES = (
    ("keda_jobs_stream_messages", "Messages in the stream", ()),
    ("keda_jobs_stream_bytes", "Size of the stream", ()),
    ("keda_jobs_jetstream_storage_bytes", "JetStream's storage in use", ()),
    ("keda_jobs_jetstream_storage_max_bytes", "JetStream's storage that may be used", ()),
    ("keda_jobs_consumer_pending", "Messages not yet delivered", _CONSUMER),
    ("keda_jobs_consumer_ack_pending", "Messages delivered and not yet acked", _CONSUMER),
    ("keda_jobs_consumer_lag", "Messages not yet acked: the number that KEDA scales on", _CONSUMER),
    ("keda_jobs_consumer_redelivered", "Messages in work that were delivered more than once", _CONSUMER),
    ("keda_jobs_consumer_waiting_pulls", "Requests for messages that wait for some", _CONSUMER),
    ("keda_jobs_consumer_oldest_age_seconds", "Age of the oldest message that is not acked; 0 with none", _CONSUMER),
    ("keda_jobs_waiting_retries", "Retries that wait until they are due", _JOB),
    ("keda_jobs_waiting_retry_next_due_timestamp_seconds", "When the next of them is due; absent with none", _JOB),
    ("keda_jobs_dead_letters_stored", "Dead letters in the stream", _JOB),
    ("keda_jobs_dead_letter_oldest_age_seconds", "Age of the oldest dead letter; 0 with none", _JOB),
    ("keda_jobs_queue_claimable_rows", "Rows that a worker would get: the number that KEDA scales on", _JOB),
    ("keda_jobs_queue_waiting_rows", "Rows that nobody may claim yet", _JOB),
    ("keda_jobs_queue_rows_given_up", "Rows that have failed for good", _JOB),
    ("keda_jobs_queue_batches_running", "Batches that are held", _JOB),
    ("keda_jobs_queue_batches_stale", "Batches that are held and whose lease is over", _JOB),
    ("keda_jobs_queue_heartbeat_age_seconds", "Time since the stalest running batch was renewed; 0 with none", _JOB),
    ("keda_jobs_scrape_ok", "Whether the source could be read", _SOURCE),
    ("keda_jobs_scrape_duration_seconds", "How long reading the source took", _SOURCE),
)
COUNTERS = (
    ("keda_jobs_queue_rows", "Rows by how a worker ended with them", ("job", "outcome")),
    ("keda_jobs_queue_batches", "Batches that ended, by how", ("job", "status")),
)


class Sample(NamedTuple):
    """A value of a metric, with its labels in the metric's order."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


class Metrics(Collector):
    """A registry that holds the samples of the last reading."""

    def __init__(self) -> None:
        self._samples: tuple[Sample, ...] = ()
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def show(self, samples: Iterable[Sample]) -> None:
        """Hold these, and no others."""
        self._samples = tuple(samples)

    def collect(self) -> Iterator[Metric]:
        """Every metric, also one without a sample."""
        for kind, described in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
            for name, text, labels in described:
                family = kind(name, text, labels=labels)
                for sample in self._samples:
                    if sample.name == name:
                        family.add_metric(sample.labels, sample.value)
                yield family


def source_samples(source: str, *, is_ok: bool, duration_s: float) -> Iterator[Sample]:
    """How the reading of `source` went."""
    yield Sample("keda_jobs_scrape_ok", is_ok, (source,))
    yield Sample("keda_jobs_scrape_duration_seconds", duration_s, (source,))


def stream_samples(reading: StreamReading) -> Iterator[Sample]:
    """The stream, its consumers, retries and dead letters."""
    yield Sample("keda_jobs_stream_messages", reading.stream.messages)
    yield Sample("keda_jobs_stream_bytes", reading.stream.bytes)
    if reading.storage:
        yield Sample("keda_jobs_jetstream_storage_bytes", reading.storage.used)
        yield Sample("keda_jobs_jetstream_storage_max_bytes", reading.storage.limit)
    for consumer in reading.consumers:
        yield from _consumer_samples(consumer, reading.now)
    for retries in reading.retries:
        yield from _retry_samples(retries)
    if reading.letters.is_exact:
        yield from _letter_samples(reading.letters, {one.state.job for one in reading.consumers}, reading.now)


def _consumer_samples(consumer: Consumer, now: datetime) -> Iterator[Sample]:
    state = consumer.state
    labels = (state.job, state.name)
    yield Sample("keda_jobs_consumer_pending", state.num_pending, labels)
    yield Sample("keda_jobs_consumer_ack_pending", state.num_ack_pending, labels)
    yield Sample("keda_jobs_consumer_lag", state.lag, labels)
    yield Sample("keda_jobs_consumer_redelivered", state.num_redelivered, labels)
    yield Sample("keda_jobs_consumer_waiting_pulls", state.num_waiting, labels)
    yield Sample("keda_jobs_consumer_oldest_age_seconds", _age_s(consumer.oldest, now), labels)


def _retry_samples(retries: WaitingRetries) -> Iterator[Sample]:
    yield Sample("keda_jobs_waiting_retries", retries.count, (retries.job,))
    if retries.next_due:
        name = "keda_jobs_waiting_retry_next_due_timestamp_seconds"
        yield Sample(name, retries.next_due.timestamp(), (retries.job,))


def _letter_samples(letters: DeadLetters, jobs: set[str], now: datetime) -> Iterator[Sample]:
    counts = dict.fromkeys([*sorted(jobs), UNKNOWN], 0)
    oldest: dict[str, datetime] = {}
    for named, count in letters.by_job.items():
        job = named if named in jobs else UNKNOWN
        counts[job] += count
        oldest[job] = min(oldest.get(job, now), letters.oldest[named])
    for job, count in counts.items():
        yield Sample("keda_jobs_dead_letters_stored", count, (job,))
        yield Sample("keda_jobs_dead_letter_oldest_age_seconds", _age_s(oldest.get(job), now), (job,))


def queue_samples(reading: QueueReading) -> Iterator[Sample]:
    """A claim queue."""
    batches, job = reading.batches, (reading.job,)
    yield Sample("keda_jobs_queue_claimable_rows", reading.claimable, job)
    yield Sample("keda_jobs_queue_waiting_rows", reading.ranges.not_due, job)
    yield Sample("keda_jobs_queue_rows_given_up", batches.given_up, job)
    yield Sample("keda_jobs_queue_batches_running", batches.running, job)
    yield Sample("keda_jobs_queue_batches_stale", batches.stale, job)
    yield Sample("keda_jobs_queue_heartbeat_age_seconds", _age_s(batches.oldest_heartbeat, reading.now), job)
    for outcome, rows in (
        ("completed", batches.completed),
        ("failed", batches.failed),
        ("returned", batches.returned),
    ):
        yield Sample("keda_jobs_queue_rows", rows, (*job, outcome))
    for status, number in (
        ("completed", batches.batches_completed),
        ("failed", batches.batches_failed),
        ("abandoned", batches.batches_abandoned),
    ):
        yield Sample("keda_jobs_queue_batches", number, (*job, status))


def _age_s(then: datetime | None, now: datetime) -> float:
    return max(0.0, (now - then).total_seconds()) if then else 0.0
