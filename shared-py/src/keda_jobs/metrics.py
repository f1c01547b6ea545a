"""What a job counts; served at `/metrics`. Labels never hold anything that comes from a message."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

_OUTCOMES = ("acked", "retry", "dead", "returned", "unconfirmed")
_DURATION_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_DELIVERIES = (1, 2, 3, 5, 8, 12, 15)
_DELAY_S = (10, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400)

_OPERATIONS = ("get", "put")
_OPERATION_OUTCOMES = ("ok", "failed", "unavailable")
_OPERATION_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# Else each counter and histogram has one more series, which tells when it was made and is a gauge to Prometheus.
cast("Callable[[], None]", disable_created_metrics)()


class JobRegistry(CollectorRegistry):
    """The metrics of one job; each that it makes is bound to its labels, so that counting looks nothing up."""

    def __init__(self, job: str) -> None:
        super().__init__()
        self.job = job

    def counter(self, name: str, meaning: str) -> Counter:
        """A counter of this job."""
        return Counter(name, meaning, ["job"], registry=self).labels(self.job)

    def counters(self, name: str, meaning: str, label: str, values: Iterable[str]) -> dict[str, Counter]:
        """A counter for each value of a label."""
        family = Counter(name, meaning, ["job", label], registry=self)
        return {value: family.labels(self.job, value) for value in values}

    def gauge(self, name: str, meaning: str) -> Gauge:
        """A gauge of this job."""
        return Gauge(name, meaning, ["job"], registry=self).labels(self.job)

    def histogram(self, name: str, meaning: str, buckets: Iterable[float]) -> Histogram:
        """A histogram of this job."""
        return Histogram(name, meaning, ["job"], buckets=tuple(buckets), registry=self).labels(self.job)


class Metrics:
    """The metrics of one event job."""

    def __init__(self, job: str) -> None:
        self.registry = made = JobRegistry(job)
        self._outcomes = made.counters(
            "keda_jobs_messages_total", "Deliveries by what became of them", "outcome", _OUTCOMES
        )
        self._duration = made.histogram(
            "keda_jobs_message_duration_seconds", "From delivery to the confirmed ack", _DURATION_S
        )
        self._deliveries = made.histogram(
            "keda_jobs_message_deliveries", "Deliveries that a message took until it was acked or dead", _DELIVERIES
        )
        self.in_work = made.gauge("keda_jobs_messages_in_work", "Messages in hand")
        self.slots = made.gauge("keda_jobs_slots", "Messages that may be in hand at once: CONCURRENCY")
        self._retry_delay = made.histogram(
            "keda_jobs_retry_delay_seconds", "Delay of a scheduled retry; the count is that of the retries", _DELAY_S
        )
        self._dead_letters = Counter(
            "keda_jobs_dead_letters_total",
            "Dead letters by the class of their error",
            ["job", "error_class"],
            registry=made,
        )
        self._fetched_at = time.monotonic()
        made.gauge("keda_jobs_fetch_age_seconds", "Since a fetch last ended, with messages or without").set_function(
            lambda: time.monotonic() - self._fetched_at
        )
        self.reconnects = made.counter("keda_jobs_reconnects_total", "Connections to NATS that were made anew")
        self.paused = made.gauge(
            "keda_jobs_paused", "1 while the job waits because NATS or the store is in trouble or not yet reached"
        )

    def fetched(self) -> None:
        """Note that a fetch has ended."""
        self._fetched_at = time.monotonic()

    def retry(self, delay_s: float) -> None:
        """Count one retry that was scheduled."""
        self._retry_delay.observe(delay_s)

    def dead_letter(self, error_class: str) -> None:
        """Count one dead letter; a refused address, say, is `ForbiddenAddress`."""
        self._dead_letters.labels(self.registry.job, error_class).inc()

    def settled(self, outcome: str, duration_s: float, attempt: int, exemplar: dict[str, str] | None = None) -> None:
        """Count delivery number `attempt` of a message, which ended as `outcome`; `exemplar` names its trace."""
        self._outcomes[outcome].inc()
        self._duration.observe(duration_s, exemplar)
        if outcome in ("acked", "dead"):
            self._deliveries.observe(attempt)


class StoreMetrics:
    """The metrics of one bucket, for a job that has one."""

    def __init__(self, registry: JobRegistry) -> None:
        duration = Histogram(
            "keda_jobs_store_operation_duration_seconds",
            "Operations of the store; ok is also the answer that there is no such object, or a larger one than wanted",
            ["job", "operation", "outcome"],
            buckets=_OPERATION_S,
            registry=registry,
        )
        self._duration = {
            (operation, outcome): duration.labels(registry.job, operation, outcome)
            for operation in _OPERATIONS
            for outcome in _OPERATION_OUTCOMES
        }
        self._bytes = registry.counters(
            "keda_jobs_store_bytes_total", "Bytes of objects that were read and stored", "operation", _OPERATIONS
        )

    def ended(self, operation: str, outcome: str, duration_s: float) -> None:
        """Count one `get` or `put` that ended as `ok`, `failed` or `unavailable`."""
        self._duration[operation, outcome].observe(duration_s)

    def moved(self, operation: str, size: int) -> None:
        """Count the bytes of an object that a `get` brought or a `put` stored."""
        self._bytes[operation].inc(size)
