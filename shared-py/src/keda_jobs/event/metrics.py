"""Metrics of an event job, served at `/metrics`. No label holds anything that comes from a message."""

from __future__ import annotations

import time

from prometheus_client import Counter

from keda_jobs.domain.policy import OUTCOMES, Ack, Dead, Decision, Retry
from keda_jobs.domain.promise import Promise
from keda_jobs.runtime.metrics import JobRegistry
from keda_jobs.runtime.trouble import Part
from keda_jobs.settings import JobSettings

_DURATION_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_DELIVERIES = (1, 2, 3, 5, 8, 12, 15)
# From an idle pod to the last of fifteen deliveries, which is three days later.
_AGE_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 43_200, 86_400, 172_800, 259_200, 604_800)
_DELAY_S = (10, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400)


class EventMetrics:
    """Metrics of one event job."""

    def __init__(self, job: str, settings: JobSettings) -> None:
        self.registry = registry = JobRegistry(job)
        self._promise = Promise(settings.slo_objective / 100, settings.slo_within_s)
        self._outcomes = registry.counters("keda_jobs_messages_total", "Deliveries by outcome", "outcome", OUTCOMES)
        self._duration = registry.histogram(
            "keda_jobs_message_duration_seconds", "From delivery to the confirmed ack", _DURATION_S
        )
        self._deliveries = registry.histogram(
            "keda_jobs_message_deliveries", "Deliveries of a message until it was acked or dead-lettered", _DELIVERIES
        )
        self._ages = registry.histograms(
            "keda_jobs_message_settled_after_seconds",
            "From the first publish to the ack or the dead letter, over all retries",
            _AGE_S,
            "outcome",
            (Ack.outcome, Dead.outcome),
        )
        self._promised = registry.counters(
            "keda_jobs_slo_messages_total",
            "Messages that ended, by whether they kept the promise",
            "kept",
            ("yes", "no"),
        )
        self._show_promise(self._promise)
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
        self._nats_parts: list[Part] = []
        registry.gauge(
            "keda_jobs_nats_trouble", "1 without a connection to NATS, while fetches fail or acks are not confirmed"
        ).set_function(lambda: any(part.active for part in self._nats_parts))
        self.paused = registry.gauge(
            "keda_jobs_paused", "1 while the job waits because NATS or the store is unavailable or not yet reached"
        )

    def _show_promise(self, promise: Promise) -> None:
        gauge = self.registry.gauge
        gauge("keda_jobs_slo_objective_ratio", "Promised share of messages, of 1").set(promise.objective)
        gauge("keda_jobs_slo_within_seconds", "Promised time from the first publish to the ack").set(promise.within_s)

    def watch_nats(self, part: Part) -> None:
        """Show trouble of `part` as trouble with NATS from now on."""
        self._nats_parts.append(part)

    def record_settled(
        self, decision: Decision, outcome: str, duration_s: float, exemplar: dict[str, str] | None = None
    ) -> None:
        """Count a delivery. `exemplar` names its trace."""
        self._outcomes[outcome].inc()
        self._duration.observe(duration_s, exemplar)
        if isinstance(decision, Retry):
            self._retry_delay.observe(decision.delay_s)
        elif isinstance(decision, Dead):
            self._dead_letters.labels(self.registry.job, decision.error_class).inc()

    def record_end(self, decision: Ack | Dead, attempt: int, age_s: float) -> None:
        """Count a message that ended with delivery number `attempt`, `age_s` after its first publish."""
        self._deliveries.observe(attempt)
        self._ages[decision.outcome].observe(age_s)
        self._promised["yes" if self._promise.is_kept(decision, age_s) else "no"].inc()
