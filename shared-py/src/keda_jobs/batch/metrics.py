"""Metrics of a batch worker, served at `/metrics`. `batch_jobs` keeps the same counts after the pod has gone."""

from __future__ import annotations

import time

from keda_jobs.claims.rows import SettledRows
from keda_jobs.runtime.metrics import JobRegistry

_CLAIM_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class BatchMetrics:
    """Metrics of one worker."""

    def __init__(self, job: str) -> None:
        self.registry = registry = JobRegistry(job)
        self._rows = registry.counters(
            "keda_jobs_rows_total", "Rows by outcome", "outcome", ("completed", "retried", "failed_permanently")
        )
        self._batches = registry.counters(
            "keda_jobs_batches_total",
            "Batches that were completed here, lost to another worker, or recovered from one",
            "outcome",
            ("completed", "lost", "recovered"),
        )
        self.events = registry.counter("keda_jobs_row_events_total", "Events of rows that NATS has confirmed")
        self.claim_duration = registry.histogram(
            "keda_jobs_claim_duration_seconds", "Time of a claim that got rows", _CLAIM_S
        )
        self.batch_duration = registry.histogram(
            "keda_jobs_batch_duration_seconds", "From the claim of a batch to its end, for completed ones", _BATCH_S
        )
        self.renewed_at: dict[int, float] = {}
        """Time of the last renewal of each running batch, by `time.monotonic`."""
        registry.gauge(
            "keda_jobs_heartbeat_age_seconds", "Since the running batches were last renewed, the oldest; 0 without one"
        ).set_function(self._heartbeat_age_s)

    def record_settled(self, settled: SettledRows) -> None:
        """Count settled rows."""
        self._rows["completed"].inc(settled.completed)
        self._rows["retried"].inc(settled.failed - settled.failed_permanently)
        self._rows["failed_permanently"].inc(settled.failed_permanently)

    def record_batch(self, outcome: str) -> None:
        """Count one batch: `completed`, `lost` to another worker, or `recovered` from one."""
        self._batches[outcome].inc()

    def _heartbeat_age_s(self) -> float:
        return time.monotonic() - min(self.renewed_at.values()) if self.renewed_at else 0.0
