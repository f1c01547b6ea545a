"""One batch job: its queue of rows, its batches, its workers."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards import health, page, panels
from dashboards.health import NO_EXPORTER
from dashboards.page import one_of, section
from dashboards.panels import Query, curves, number
from dashboards.queries import JOB, from_postgres, or_zero, quantiles, rate, total

_CLAIMABLE = "keda_jobs_queue_claimable_rows"
_WORKERS = or_zero(f"count(keda_jobs_heartbeat_age_seconds{{{JOB}}})", _CLAIMABLE)
_NO_WORKERS = "no workers"


def batch() -> Dashboard:
    """For the job of the variable `job`. Workers live shortly, so all that matters comes from PostgreSQL."""
    dashboard = page.page(
        page.BATCH, "Keda-jobs: batch", "Is this batch job healthy, what is it doing, and what slows it down?"
    ).with_variable(one_of(_CLAIMABLE))
    _health(dashboard)
    _activity(dashboard)
    _reasons(dashboard)
    return dashboard


def _health(dashboard: Dashboard) -> None:
    section(
        dashboard,
        "Is it healthy?",
        number(
            "Claimable",
            "Rows that a worker could take now: the number that KEDA scales by.",
            total(_CLAIMABLE),
            alert="KedaJobsQueueNotWorkedOff",
            absent=NO_EXPORTER,
        ),
        number(
            "Waiting",
            "Rows that failed and whose retry is not due yet.",
            total("keda_jobs_queue_waiting_rows"),
            absent=NO_EXPORTER,
        ),
        health.rows_given_up(),
        number(
            "Running batches",
            "Batches that a worker has in hand.",
            total("keda_jobs_queue_batches_running"),
            absent=NO_EXPORTER,
        ),
        health.stale_batches(),
        number(
            "Heartbeat",
            "How long ago the most silent of the running batches was renewed; its lease is 60 s by default.",
            f"max(keda_jobs_queue_heartbeat_age_seconds{{{JOB}}})",
            unit=panels.SECONDS,
            levels=health.SILENT,
            alert="KedaJobsBatchesStale",
            absent=NO_EXPORTER,
        ),
        number("Workers", "Worker pods that are scraped.", _WORKERS, absent=NO_EXPORTER),
        health.scaler_errors(),
    )


def _activity(dashboard: Dashboard) -> None:
    section(
        dashboard,
        "What is it doing?",
        curves(
            "Rows by outcome",
            "As PostgreSQL counts them when a batch ends; `returned` were given back by a worker that stopped.",
            Query(from_postgres("keda_jobs_queue_rows_total", "outcome"), "{{outcome}}"),
            unit=panels.ROWS_A_SECOND,
            stacked=True,
            absent=NO_EXPORTER,
        ),
        curves(
            "Rows by outcome, live",
            "As the workers count them while they work.",
            Query(rate("keda_jobs_rows_total", "outcome"), "{{outcome}}"),
            unit=panels.ROWS_A_SECOND,
            stacked=True,
            absent=_NO_WORKERS,
        ),
        curves(
            "Queue",
            "Rows by what they wait for: a worker, the time of their retry, a person.",
            Query(total(_CLAIMABLE), "claimable"),
            Query(total("keda_jobs_queue_waiting_rows"), "waiting"),
            Query(total("keda_jobs_queue_rows_given_up"), "given up"),
            absent=NO_EXPORTER,
        ),
        curves(
            "Batches",
            "In hand now, and those of them whose lease is over.",
            Query(total("keda_jobs_queue_batches_running"), "running"),
            Query(total("keda_jobs_queue_batches_stale"), "stale"),
            absent=NO_EXPORTER,
        ),
        curves(
            "Batches that ended",
            "By status, in the last five minutes; `abandoned` ones lost their worker.",
            Query(f"max by (status) (increase(keda_jobs_queue_batches_total{{{JOB}}}[5m]))", "{{status}}"),
            absent=NO_EXPORTER,
        ),
        curves(
            "Workers",
            "Worker pods that are scraped.",
            Query(_WORKERS, "workers"),
            absent=NO_EXPORTER,
        ),
    )


def _reasons(dashboard: Dashboard) -> None:
    section(
        dashboard,
        "Why?",
        curves(
            "Claim duration",
            "Time of a claim that got rows. Milliseconds are right; more is a busy database or a missing index.",
            *quantiles("keda_jobs_claim_duration_seconds"),
            unit=panels.SECONDS,
            absent=_NO_WORKERS,
        ),
        curves(
            "Batch duration",
            "From claim to the last row settled.",
            *quantiles("keda_jobs_batch_duration_seconds"),
            unit=panels.SECONDS,
            absent=_NO_WORKERS,
        ),
        curves(
            "Heartbeat age",
            "Since running batches were renewed: the oldest as PostgreSQL sees it, and as its worker does.",
            Query(f"max(keda_jobs_queue_heartbeat_age_seconds{{{JOB}}})", "PostgreSQL"),
            Query(f"max(keda_jobs_heartbeat_age_seconds{{{JOB}}})", "workers"),
            unit=panels.SECONDS,
            levels=health.SILENT,
            absent=NO_EXPORTER,
        ),
        curves(
            "Batches, live",
            "As the workers count them: `lost` to another worker, `recovered` from one.",
            Query(rate("keda_jobs_batches_total", "outcome"), "{{outcome}}"),
            unit=panels.OPERATIONS_A_SECOND,
            absent=_NO_WORKERS,
        ),
        health.scaler(),
        curves(
            "Exporter",
            "How long it takes to read PostgreSQL, once per scrape.",
            Query('max by (source) (keda_jobs_scrape_duration_seconds{source="postgres"})', "{{source}}"),
            unit=panels.SECONDS,
            absent=NO_EXPORTER,
        ),
    )
