"""Dashboard of one batch job: its queue of rows, its batches, its workers."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards import health, page
from dashboards.page import HERE, Panels
from dashboards.panels import Query, curves, number, spread
from dashboards.queries import JOB, exported_rate, highest, pods, quantiles, rate, total

_CLAIMABLE = "keda_jobs_queue_claimable_rows"
_WORKERS = pods("keda_jobs_heartbeat_age_seconds", _CLAIMABLE)
_NO_WORKERS = "no workers"


def batch() -> Dashboard:
    """Build the dashboard. Workers are short-lived, so its main numbers come from PostgreSQL."""
    return page.page(
        page.BATCH,
        "Keda-jobs: batch",
        "Is this batch job healthy, what is it doing, and what slows it down?",
        page.one_of(f'__name__="{_CLAIMABLE}"'),
        {"Is it healthy?": _health(), "What is it doing?": _activity(), "Why?": _reasons()},
    )


def _health() -> Panels:
    return spread(
        number(
            "Claimable",
            "Rows that a worker can claim now, the number that KEDA scales on.",
            total(_CLAIMABLE),
            alert="KedaJobsQueueNotWorkedOff",
        ),
        number(
            "Held",
            "Time until the hold of the queue ends. A service that the job needs asked everybody to wait.",
            highest("keda_jobs_queue_hold_seconds"),
        ),
        number("Waiting", "Rows that failed and whose retry is not due yet.", total("keda_jobs_queue_waiting_rows")),
        health.failed_rows(),
        number("Running batches", "Batches that a worker holds.", total("keda_jobs_queue_batches_running")),
        health.stale_batches(),
        health.stranded_rows(),
        health.set_aside_rows(),
        number(
            "Last check",
            "Time since `keda-jobs batch check`, or the apply of the schema, compared the queue with the rows.",
            f"time() - {highest('keda_jobs_queue_checked_timestamp_seconds')}",
            unit="s",
            alert="KedaJobsQueueNotChecked",
        ),
        number(
            "Heartbeat",
            "Time since the oldest heartbeat of a running batch. The lease is 60 s by default.",
            highest("keda_jobs_queue_heartbeat_age_seconds"),
            levels=health.SILENT,
            alert="KedaJobsBatchesStale",
        ),
        health.scaler_errors(),
    )


def _activity() -> Panels:
    ended = f"max by (status) (increase(keda_jobs_queue_batches_total{{{JOB}}}[5m]))"
    return (
        curves(
            "Rows by outcome",
            "Counted by PostgreSQL when a batch ends. A stopping worker gave back the `returned` rows.",
            Query(exported_rate("keda_jobs_queue_rows_total", "outcome"), "{{outcome}}"),
            stacked=True,
            alert="KedaJobsMostRowsFailing",
        ),
        curves(
            "Rows by outcome, live",
            "Counted by the workers while they run.",
            Query(rate("keda_jobs_rows_total", "outcome"), "{{outcome}}"),
            stacked=True,
            absent=_NO_WORKERS,
        ),
        curves(
            "Queue",
            "Rows that wait for a worker, for their retry, or for attention.",
            Query(total(_CLAIMABLE), "claimable"),
            Query(total("keda_jobs_queue_waiting_rows"), "waiting"),
            Query(total("keda_jobs_queue_rows_failed_permanently"), "failed permanently"),
        ),
        curves(
            "Batches",
            "Running batches, and those with an expired lease.",
            Query(total("keda_jobs_queue_batches_running"), "running"),
            Query(total("keda_jobs_queue_batches_stale"), "stale"),
        ),
        curves(
            "Batches that ended",
            "By status, in the last five minutes. `abandoned` batches lost their worker.",
            Query(ended, "{{status}}"),
        ),
        curves("Workers", "Worker pods that are scraped.", Query(_WORKERS, "workers")),
    )


def _reasons() -> Panels:
    return (
        curves(
            "Claim duration",
            "Time of a claim that got rows. More than milliseconds means a busy database or a missing index.",
            *quantiles("keda_jobs_claim_duration_seconds"),
            absent=_NO_WORKERS,
        ),
        curves(
            "Batch duration",
            "From the claim to the last settled row.",
            *quantiles("keda_jobs_batch_duration_seconds"),
            absent=_NO_WORKERS,
        ),
        curves(
            "Heartbeat age",
            "Time since the oldest heartbeat of a running batch, according to PostgreSQL and to the workers.",
            Query(highest("keda_jobs_queue_heartbeat_age_seconds"), "PostgreSQL"),
            Query(highest("keda_jobs_heartbeat_age_seconds"), "workers"),
            levels=health.SILENT,
        ),
        curves(
            "Batches, live",
            "Counted by the workers: `lost` to another worker, `recovered` from one.",
            Query(rate("keda_jobs_batches_total", "outcome"), "{{outcome}}"),
            absent=_NO_WORKERS,
        ),
        health.scaler(),
        curves(
            "Exporter",
            "Time it takes to read PostgreSQL, once per scrape.",
            Query(f'max by (source) (keda_jobs_scrape_duration_seconds{{{HERE}, source="postgres"}})', "{{source}}"),
        ),
    )
