"""What a job counts; served at `/metrics`. Labels never hold anything that comes from a message."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The counters of one event job."""

    def __init__(self, job: str) -> None:
        self.registry = CollectorRegistry()
        messages = Counter(
            "keda_jobs_messages", "Deliveries by what became of them", ["job", "outcome"], registry=self.registry
        )
        duration = Histogram(
            "keda_jobs_message_duration_seconds",
            "From delivery to the confirmed ack",
            ["job"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._dead_letters = Counter(
            "keda_jobs_dead_letters",
            "Dead letters by the class of their error",
            ["job", "error_class"],
            registry=self.registry,
        )
        in_work = Gauge("keda_jobs_messages_in_work", "Messages in hand", ["job"], registry=self.registry)
        self._outcomes = {
            outcome: messages.labels(job, outcome) for outcome in ("acked", "retry", "dead", "returned", "unconfirmed")
        }
        self._job = job
        self._duration = duration.labels(job)
        self.in_work = in_work.labels(job)

    def dead_letter(self, error_class: str) -> None:
        """Count one dead letter; a refused address, say, is `ForbiddenAddress`."""
        self._dead_letters.labels(self._job, error_class).inc()

    def settled(self, outcome: str, duration_s: float) -> None:
        """Count one delivery that ended as `outcome`."""
        self._outcomes[outcome].inc()
        self._duration.observe(duration_s)
