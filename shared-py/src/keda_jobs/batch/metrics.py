"""What a batch worker counts; served at `/metrics`. `batch_jobs` holds the same numbers for longer than a pod lives."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from keda_jobs.claims.queue import Settled

_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class BatchMetrics:
    """The counters of one worker."""

    def __init__(self, job: str) -> None:
        self.registry = CollectorRegistry()
        rows = Counter("keda_jobs_rows", "Rows by what became of them", ["job", "outcome"], registry=self.registry)
        batches = Counter("keda_jobs_batches", "Batches by how they ended", ["job", "outcome"], registry=self.registry)
        claim = Histogram(
            "keda_jobs_claim_duration_seconds",
            "Time of a claim that got rows",
            ["job"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._rows = {outcome: rows.labels(job, outcome) for outcome in ("completed", "retry", "given_up")}
        self._batches = {outcome: batches.labels(job, outcome) for outcome in ("completed", "lost", "recovered")}
        self._claim = claim.labels(job)

    def claimed(self, duration_s: float) -> None:
        """Count one claim."""
        self._claim.observe(duration_s)

    def settled(self, settled: Settled) -> None:
        """Count rows whose state was written."""
        self._rows["completed"].inc(settled.completed)
        self._rows["retry"].inc(settled.failed - settled.given_up)
        self._rows["given_up"].inc(settled.given_up)

    def batch(self, outcome: str) -> None:
        """Count one batch: `completed`, `lost` to another worker, or `recovered` from one."""
        self._batches[outcome].inc()
