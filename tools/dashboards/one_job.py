"""One event job: its queue, its pods, what slows it down."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards import health, page, panels
from dashboards.health import NO_EXPORTER
from dashboards.page import one_of, section
from dashboards.panels import Query, bars, curves, number
from dashboards.queries import JOB, LAG, mean, or_zero, quantile, quantiles, rate, total

_PODS = or_zero(f"count(keda_jobs_concurrency_limit{{{JOB}}})", LAG)


def one_job() -> Dashboard:
    """For the job of the variable `job`; its queue's numbers hold at zero pods, those of its pods vanish with them."""
    dashboard = page.page(
        page.ONE_JOB, "Keda-jobs: one job", "Is this event job healthy, what is it doing, and what slows it down?"
    ).with_variable(one_of(LAG))
    _health(dashboard)
    _activity(dashboard)
    _retries(dashboard)
    _reasons(dashboard)
    return dashboard


def _health(dashboard: Dashboard) -> None:
    section(
        dashboard,
        "Is it healthy?",
        number(
            "Lag",
            "Messages that wait or are in work: the number that KEDA scales by.",
            total(LAG),
            alert="KedaJobsLagGrowing",
            absent=NO_EXPORTER,
        ),
        health.oldest_message(),
        health.dead_letters(),
        number(
            "Oldest dead letter",
            "How long the oldest dead letter has waited for a person.",
            f"max(keda_jobs_dead_letter_oldest_age_seconds{{{JOB}}})",
            unit=panels.SECONDS,
            absent=NO_EXPORTER,
        ),
        number(
            "Next retry",
            "When the next waiting retry is due. One in the past that does not come back is in trouble.",
            f"min(keda_jobs_waiting_retry_next_due_timestamp_seconds{{{JOB}}}) * 1000",
            unit=panels.WHEN,
            alert="KedaJobsRetryOverdue",
        ),
        number(
            "Pods",
            "Pods that are scraped. None is right while there is no lag.",
            _PODS,
            alert="KedaJobsNotScaledUp",
            absent=NO_EXPORTER,
        ),
        health.paused_pods(),
        health.scaler_errors(),
    )


def _activity(dashboard: Dashboard) -> None:
    section(
        dashboard,
        "What is it doing?",
        curves(
            "Deliveries by outcome",
            "`acked` and `dead` are the end of a message, `retry` comes back later, `returned` was given back while "
            "draining, `unconfirmed` is delivered again.",
            Query(rate("keda_jobs_messages_total", "outcome"), "{{outcome}}"),
            unit=panels.MESSAGES_A_SECOND,
            stacked=True,
        ),
        curves(
            "Duration",
            "From delivery to the confirmed ack. Points lead to traces where traces are on.",
            *quantiles("keda_jobs_message_duration_seconds"),
            unit=panels.SECONDS,
            exemplars=True,
        ),
        curves(
            "Lag and pods",
            "KEDA starts pods as the lag grows; pods without effect on the lag wait for something else.",
            Query(total("keda_jobs_consumer_pending"), "pending"),
            Query(total("keda_jobs_consumer_ack_pending"), "delivered, not acked"),
            Query(_PODS, "pods"),
            absent=NO_EXPORTER,
            alert="KedaJobsLagGrowing",
        ),
        curves(
            "Slots",
            "Messages in work of all pods, and how many there could be. All in use and lag: more pods are needed.",
            Query(f"sum(keda_jobs_messages_in_flight{{{JOB}}})", "in use"),
            Query(f"sum(keda_jobs_concurrency_limit{{{JOB}}})", "slots"),
        ),
        curves(
            "Oldest message",
            "Age of the oldest message that is not finished.",
            Query(f"max(keda_jobs_consumer_oldest_age_seconds{{{JOB}}})", "age"),
            unit=panels.SECONDS,
            levels=health.OLD_MESSAGE,
            absent=NO_EXPORTER,
        ),
        health.scaler(),
    )


def _retries(dashboard: Dashboard) -> None:
    letters = f"max_over_time(keda_jobs_dead_letters_total{{{JOB}}}[$__range])"
    deliveries = "keda_jobs_message_deliveries"
    section(
        dashboard,
        "What goes wrong?",
        curves(
            "Retries waiting",
            "Messages that come back at a time of their own. They hold no pod and count in no lag.",
            Query(total("keda_jobs_waiting_retries"), "waiting"),
            width=6,
            absent=NO_EXPORTER,
        ),
        curves(
            "Retry delay, p95",
            "How far ahead retries are scheduled: later and later, unless a server said when.",
            Query(quantile(0.95, "keda_jobs_retry_delay_seconds"), "p95"),
            unit=panels.SECONDS,
            width=6,
            absent="no pods, no retries",
        ),
        curves(
            "Deliveries a message takes",
            "Until it is acked or dead; 1 without any retry.",
            Query(mean(deliveries), "mean"),
            Query(f"ceil({quantile(0.95, deliveries)})", "p95"),
            width=6,
        ),
        bars(
            "Dead letters by class",
            "Counted by each pod from its start, the pods of the time shown added up. Those stored now are on top.",
            Query(f"sum by (error_class) ({letters})", "{{error_class}}"),
        ),
    )


def _reasons(dashboard: Dashboard) -> None:
    store = "keda_jobs_store_operation_duration_seconds"
    section(
        dashboard,
        "Why?",
        curves(
            "Store operations",
            "Reads and writes of the bucket; `failed` was refused, `unavailable` makes the job pause.",
            Query(rate(f"{store}_count", "operation, outcome"), "{{operation}} {{outcome}}"),
            unit=panels.OPERATIONS_A_SECOND,
            absent="no pods, or no store",
            alert="KedaJobsStoreFailing",
        ),
        curves(
            "Store duration, p95",
            "One operation in 20 takes longer.",
            Query(quantile(0.95, store, "operation"), "{{operation}}"),
            unit=panels.SECONDS,
            absent="no pods, or no store",
        ),
        curves(
            "Store traffic",
            "Bytes read from and written to the bucket.",
            Query(rate("keda_jobs_store_bytes_total", "operation"), "{{operation}}"),
            unit=panels.BYTES_A_SECOND,
            absent="no pods, or no store",
        ),
        curves(
            "Fetch age",
            "Since a pod's last fetch of messages ended, the slowest pod. Below 3 s while slots are free.",
            Query(f"max(keda_jobs_fetch_age_seconds{{{JOB}}})", "slowest pod"),
            unit=panels.SECONDS,
            levels=health.SILENT,
            alert="KedaJobsLoopDoesNotPoll",
        ),
        curves(
            "Connection to NATS",
            "Reconnects and pauses of all pods.",
            Query(f"sum(increase(keda_jobs_reconnects_total{{{JOB}}}[$__rate_interval]))", "reconnects"),
            Query(f"sum(keda_jobs_paused{{{JOB}}})", "paused pods"),
        ),
        curves(
            "Consumer",
            "`redelivered` came back without an ack; `waiting pulls` are pods that ask for work and have room.",
            Query(total("keda_jobs_consumer_redelivered"), "redelivered"),
            Query(total("keda_jobs_consumer_waiting_pulls"), "waiting pulls"),
            absent=NO_EXPORTER,
        ),
    )
