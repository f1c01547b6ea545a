"""Dashboard of one event job: its queue, its pods, what slows it down."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models import units

from dashboards import health, page
from dashboards.page import Panels
from dashboards.panels import Query, bars, curves, number
from dashboards.queries import JOB, LAG, highest, increase, mean, over_pods, pods, quantile, quantiles, rate, total

_PODS = pods("keda_jobs_concurrency_limit", LAG)


def one_job() -> Dashboard:
    """Build the dashboard. Numbers of the queue hold at zero pods, and those of the pods vanish with them."""
    return page.page(
        page.ONE_JOB,
        "Keda-jobs: one job",
        "Is this event job healthy, what is it doing, and what slows it down?",
        page.one_of(f'__name__="{LAG}"'),
        {
            "Is it healthy?": _health(),
            "Is the promise kept?": _promise(),
            "What is it doing?": _activity(),
            "What goes wrong?": _failures(),
            "Why?": _reasons(),
        },
    )


def _health() -> Panels:
    next_due = "keda_jobs_waiting_retry_next_due_timestamp_seconds"
    return (
        number(
            "Lag",
            "Messages that are pending or in flight, the number that KEDA scales on.",
            total(LAG),
            alert="KedaJobsLagGrowing",
        ),
        health.oldest_message(),
        health.dead_letters(),
        number(
            "Oldest dead letter", "Age of the oldest dead letter.", highest("keda_jobs_dead_letter_oldest_age_seconds")
        ),
        number(
            "Next retry",
            "Due time of the next waiting retry. A retry that stays in the past is overdue.",
            f"min({next_due}{{{JOB}}}) * 1000",
            alert="KedaJobsRetryOverdue",
            absent="none",
        ),
        number("Pods", "Pods that are scraped. Zero is correct without lag.", _PODS, alert="KedaJobsNotScaledUp"),
        health.paused_pods(),
        health.scaler_errors(),
    )


def _promise() -> Panels:
    """Show the numbers of the recording rules, which hold at zero pods."""
    minutes = "job_kept:keda_jobs_slo_messages:increase1m"
    in_time, all_ended = (
        f"sum(sum_over_time({minutes}{{{selector}}}[$__range]))" for selector in (f'{JOB}, kept="yes"', JOB)
    )
    return (
        number(
            "In time",
            "Share of the messages in the time range that were done as soon as promised. Dead letters were not.",
            f"{in_time} / ({all_ended} > 0)",
            unit=units.PercentUnit,
            alert="KedaJobsBudgetBurnsSlowly",
            absent="none ended",
        )
        .height(8)
        .span(4),
        number(
            "Promised",
            "Share of the messages that are to be done in time. Without a pod it is that of the last one.",
            f"max(last_over_time(keda_jobs_slo_objective_ratio{{{JOB}}}[$__range]))",
            unit=units.PercentUnit,
        )
        .height(8)
        .span(4),
        number(
            "Promised within",
            "Time from the first publish to the ack. Without a pod it is that of the last one.",
            f"max(last_over_time(keda_jobs_slo_within_seconds{{{JOB}}}[$__range]))",
        )
        .height(8)
        .span(4),
        curves(
            "Burn of the error budget",
            "At 1 the budget of 30 days lasts for 30 days. Alerts begin at 14.4 in an hour and 6 in six hours.",
            *(Query(f"max(job:keda_jobs_slo_burn:ratio{window}{{{JOB}}})", window) for window in ("1h", "6h")),
            Query(f"max(job:keda_jobs_slo_burn:ratio3d{{{JOB}}})", "3d"),
            width=6,
            alert="KedaJobsBudgetBurnsFast",
            absent="none ended",
        ),
        curves(
            "Publish to end",
            "From the first publish to the ack or the dead letter, over all retries.",
            *quantiles("keda_jobs_message_settled_after_seconds"),
            width=6,
        ),
    )


def _activity() -> Panels:
    return (
        curves(
            "Deliveries by outcome",
            "A message ends with an ack or as a dead letter. Retries come back later. Pods give messages "
            "back while draining. An unconfirmed ack leads to another delivery.",
            Query(rate("keda_jobs_messages_total", "outcome"), "{{outcome}}"),
            stacked=True,
            alert="KedaJobsMostMessagesFailing",
        ),
        curves(
            "Duration",
            "From delivery to the confirmed ack. Points lead to traces where traces are on.",
            *quantiles("keda_jobs_message_duration_seconds"),
            exemplars=True,
        ),
        curves(
            "Lag and pods",
            "KEDA starts pods as the lag grows. If pods do not reduce the lag, they wait for something else.",
            Query(total("keda_jobs_consumer_pending"), "pending"),
            Query(total("keda_jobs_consumer_ack_pending"), "delivered, not acked"),
            Query(_PODS, "pods"),
            alert="KedaJobsLagGrowing",
        ),
        curves(
            "Concurrency",
            "Messages in flight in all pods, and their limit. Lag at the limit needs more pods.",
            Query(over_pods("keda_jobs_messages_in_flight"), "in flight"),
            Query(over_pods("keda_jobs_concurrency_limit"), "limit"),
        ),
        curves(
            "Oldest message",
            "Age of the oldest unfinished message.",
            Query(highest("keda_jobs_consumer_oldest_age_seconds"), "age"),
            levels=health.OLD_MESSAGE,
        ),
        health.scaler(),
    )


def _failures() -> Panels:
    deliveries = "keda_jobs_message_deliveries"
    dead_letters = f"sum by (error_class) (max_over_time(keda_jobs_dead_letters_total{{{JOB}}}[$__range]))"
    return (
        curves(
            "Retries waiting",
            "Messages scheduled for a later delivery. They hold no pod and do not count as lag.",
            Query(total("keda_jobs_waiting_retries"), "waiting"),
            width=6,
            alert="KedaJobsRetriesPilingUp",
        ),
        curves(
            "Retry delay, p95",
            "Time until scheduled retries. It grows with the attempts unless a server sent Retry-After.",
            Query(quantile(0.95, "keda_jobs_retry_delay_seconds"), "p95"),
            width=6,
            absent="no pods, no retries",
        ),
        curves(
            "Deliveries per message",
            "Deliveries until a message is acked or dead-lettered, 1 without a retry.",
            Query(mean(deliveries), "mean"),
            Query(f"ceil({quantile(0.95, deliveries)})", "p95"),
            width=6,
        ),
        bars(
            "Dead letters by class",
            "Sum over the pods in the time range, each counting from its start. Stored dead letters are at the top.",
            Query(dead_letters, "{{error_class}}"),
        ),
    )


def _reasons() -> Panels:
    store, no_store = "keda_jobs_store_operation_duration_seconds", "no pods, or no store"
    return (
        curves(
            "Store operations",
            "Reads and writes of the bucket. The store refused the `failed` ones. `unavailable` pauses the job.",
            Query(rate(f"{store}_count", "operation, outcome"), "{{operation}} {{outcome}}"),
            absent=no_store,
            alert="KedaJobsStoreFailing",
        ),
        curves(
            "Store duration, p95",
            "One operation in 20 takes longer.",
            Query(quantile(0.95, store, "operation"), "{{operation}}"),
            absent=no_store,
        ),
        curves(
            "Store traffic",
            "Bytes read from and written to the bucket.",
            Query(rate("keda_jobs_store_bytes_total", "operation"), "{{operation}}"),
            absent=no_store,
        ),
        curves(
            "Fetch age",
            "Time since the last fetch of the slowest pod. Below 3 s while a pod has room for messages.",
            Query(highest("keda_jobs_fetch_age_seconds"), "slowest pod"),
            levels=health.SILENT,
            alert="KedaJobsLoopDoesNotPoll",
        ),
        curves(
            "Connection to NATS",
            "Reconnects and pauses of all pods.",
            Query(increase("keda_jobs_reconnects_total"), "reconnects"),
            Query(over_pods("keda_jobs_paused"), "paused pods"),
        ),
        curves(
            "Consumer",
            "`redelivered` messages came back without an ack. `waiting pulls` come from pods with room for messages.",
            Query(total("keda_jobs_consumer_redelivered"), "redelivered"),
            Query(total("keda_jobs_consumer_waiting_pulls"), "waiting pulls"),
        ),
    )
