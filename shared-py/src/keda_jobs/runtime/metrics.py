"""Registry of a process's metrics. No label holds anything that comes from a message."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

_OPERATIONS = ("get", "put")
_OPERATION_OUTCOMES = ("ok", "failed", "unavailable")
_OPERATION_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# By default each counter and histogram has one more series, the time of its creation, as a gauge.
cast("Callable[[], None]", disable_created_metrics)()


class JobRegistry(CollectorRegistry):
    """Metrics of one job. Each is bound to its labels, so that counting looks nothing up."""

    def __init__(self, job: str) -> None:
        super().__init__()
        self.job = job

    def counter(self, name: str, meaning: str) -> Counter:
        """Create a counter of this job."""
        return Counter(name, meaning, ["job"], registry=self).labels(self.job)

    def counters(self, name: str, meaning: str, label: str, values: Iterable[str]) -> dict[str, Counter]:
        """Create a counter for each value of a label."""
        family = Counter(name, meaning, ["job", label], registry=self)
        return {value: family.labels(self.job, value) for value in values}

    def gauge(self, name: str, meaning: str) -> Gauge:
        """Create a gauge of this job."""
        return Gauge(name, meaning, ["job"], registry=self).labels(self.job)

    def histogram(self, name: str, meaning: str, buckets: Iterable[float]) -> Histogram:
        """Create a histogram of this job."""
        return Histogram(name, meaning, ["job"], buckets=tuple(buckets), registry=self).labels(self.job)

    def histograms(
        self, name: str, meaning: str, buckets: Iterable[float], label: str, values: Iterable[str]
    ) -> dict[str, Histogram]:
        """Create a histogram for each value of a label."""
        family = Histogram(name, meaning, ["job", label], buckets=tuple(buckets), registry=self)
        return {value: family.labels(self.job, value) for value in values}


class StoreMetrics:
    """Metrics of a job's bucket."""

    def __init__(self, registry: JobRegistry) -> None:
        duration = Histogram(
            "keda_jobs_store_operation_duration_seconds",
            "Operations of the store. A missing or too large object counts as ok: the store did what it was asked",
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
            "keda_jobs_store_bytes_total", "Bytes of objects that were read or stored", "operation", _OPERATIONS
        )

    def record_operation(self, operation: str, outcome: str, duration_s: float) -> None:
        """Count one `get` or `put` that ended as `ok`, `failed` or `unavailable`."""
        self._duration[operation, outcome].observe(duration_s)

    def record_bytes(self, operation: str, size: int) -> None:
        """Count the bytes of an object that a `get` read or a `put` stored."""
        self._bytes[operation].inc(size)
