"""Metrics of an event job, served at `/metrics`. No label holds anything that comes from a message."""

from __future__ import annotations

import time

from prometheus_client import Counter

from keda_jobs.domain.policy import OUTCOMES, Dead, Decision, Retry
from keda_jobs.runtime.metrics import JobRegistry

_DURATION_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_DELIVERIES = (1, 2, 3, 5, 8, 12, 15)
_DELAY_S = (10, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400)


class EventMetrics:
    """Metrics of one event job."""

    def __init__(self, job: str) -> None:
        self.registry = registry = JobRegistry(job)
        self._outcomes = registry.counters("keda_jobs_messages_total", "Deliveries by outcome", "outcome", OUTCOMES)
        self._duration = registry.histogram(
            "keda_jobs_message_duration_seconds", "From delivery to the confirmed ack", _DURATION_S
        )
        self._deliveries = registry.histogram(
            "keda_jobs_message_deliveries", "Deliveries of a message until it was acked or dead-lettered", _DELIVERIES
        )
        self.in_flight = registry.gauge("keda_jobs_messages_in_flight", "Messages in flight")
        self.concurrency_limit = registry.gauge(
            "keda_jobs_concurrency_limit", "Messages that may be in flight at once: CONCURRENCY"
        )
        self._retry_delay = registry.histogram(
            "keda_jobs_retry_delay_seconds", "Delay of a scheduled retry. The count is the number of retries", _DELAY_S
        )
        self._dead_letters = Counter(
            "keda_jobs_dead_letters_total", "Dead letters by error class", ["job", "error_class"], registry=registry
        )
        self.duplicate_ids = registry.counter(
            "keda_jobs_duplicate_ids_total", "Messages stored under a new id because another one had theirs"
        )
        self.fetched_at = time.monotonic()
        registry.gauge(
            "keda_jobs_fetch_age_seconds", "Time since NATS last answered a fetch, with messages or without"
        ).set_function(lambda: time.monotonic() - self.fetched_at)
        self.reconnects = registry.counter("keda_jobs_reconnects_total", "Reconnections to NATS")
        self.nats_trouble = registry.gauge("keda_jobs_nats_trouble", "1 while fetches fail or acks are not confirmed")
        self.paused = registry.gauge(
            "keda_jobs_paused", "1 while the job waits because NATS or the store is unavailable or not yet reached"
        )

    def record_settled(
        self, decision: Decision, outcome: str, duration_s: float, attempt: int, exemplar: dict[str, str] | None = None
    ) -> None:
        """Count delivery number `attempt` of a message. `exemplar` names its trace."""
        self._outcomes[outcome].inc()
        self._duration.observe(duration_s, exemplar)
        if decision.is_final and outcome == decision.outcome:
            self._deliveries.observe(attempt)
        if isinstance(decision, Retry):
            self._retry_delay.observe(decision.delay_s)
        elif isinstance(decision, Dead):
            self._dead_letters.labels(self.registry.job, decision.error_class).inc()
