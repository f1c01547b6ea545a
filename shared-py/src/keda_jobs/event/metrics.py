"""What an event job counts; served at `/metrics`. Labels never hold anything that comes from a message."""

from __future__ import annotations

import time

from prometheus_client import Counter

from keda_jobs.runtime.metrics import JobRegistry

_OUTCOMES = ("acked", "retry", "dead", "returned", "unconfirmed")
_DURATION_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_DELIVERIES = (1, 2, 3, 5, 8, 12, 15)
_DELAY_S = (10, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400)


class EventMetrics:
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
        self.in_flight = made.gauge("keda_jobs_messages_in_flight", "Messages in hand")
        self.concurrency_limit = made.gauge(
            "keda_jobs_concurrency_limit", "Messages that may be in hand at once: CONCURRENCY"
        )
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

    def record_fetch(self) -> None:
        """Note that a fetch has ended."""
        self._fetched_at = time.monotonic()

    def record_retry(self, delay_s: float) -> None:
        """Count one retry that was scheduled."""
        self._retry_delay.observe(delay_s)

    def record_dead_letter(self, error_class: str) -> None:
        """Count one dead letter; a refused address, say, is `ForbiddenAddress`."""
        self._dead_letters.labels(self.registry.job, error_class).inc()

    def record_settled(
        self, outcome: str, duration_s: float, attempt: int, exemplar: dict[str, str] | None = None
    ) -> None:
        """Count delivery number `attempt` of a message, which ended as `outcome`; `exemplar` names its trace."""
        self._outcomes[outcome].inc()
        self._duration.observe(duration_s, exemplar)
        if outcome in ("acked", "dead"):
            self._deliveries.observe(attempt)
