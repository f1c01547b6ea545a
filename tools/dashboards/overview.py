"""The platform at a glance: is anything wrong, and with which job."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards import health, page, panels
from dashboards.health import NO_EXPORTER, NO_KEDA
from dashboards.page import about_the_job_in_a_cell, any_of, section
from dashboards.panels import Column, Levels, Query, curves, jobs_table, number, verdict
from dashboards.queries import JOB, LAG, from_postgres, of_each, or_zero, quantile, rate

_JOBS = '{__name__=~"keda_jobs_consumer_lag|keda_jobs_queue_claimable_rows"}'
_OVERDUE = f"clamp_min(time() - keda_jobs_waiting_retry_next_due_timestamp_seconds{{{JOB}}}, 0)"
_LIMIT = "max(keda_jobs_jetstream_storage_max_bytes)"
# What the exporter calls the job of dead letters that name none.
_OR_UNKNOWN = 'job=~"$job|unknown"'
_NO_BATCH_JOB = "no batch job"


def overview() -> Dashboard:
    """Built from the exporter's numbers, so that it holds when no job has a pod."""
    dashboard = page.page(
        page.OVERVIEW, "Keda-jobs: overview", "Is the platform healthy, what is it doing, and which job is in trouble?"
    ).with_variable(any_of(_JOBS))
    _health(dashboard)
    _jobs(dashboard)
    _activity(dashboard)
    _reasons(dashboard)
    _capacity(dashboard)
    return dashboard


def _health(dashboard: Dashboard) -> None:
    section(
        dashboard,
        "Is it healthy?",
        verdict(
            "Exporter",
            "The exporter runs and reads NATS and PostgreSQL. While it does not, most of this page stands still.",
            "min(keda_jobs_scrape_ok) or vector(0)",
            good="reads all",
            bad="in trouble",
            alert="KedaJobsExporterDown",
        ),
        health.oldest_message(),
        health.dead_letters(_OR_UNKNOWN),
        number(
            "Retries overdue",
            "How long the most overdue retry should have come back already.",
            or_zero(f"max({_OVERDUE})", "keda_jobs_waiting_retries"),
            unit=panels.SECONDS,
            levels=Levels(30, 300),
            alert="KedaJobsRetryOverdue",
        ),
        health.paused_pods(),
        health.rows_given_up(),
        health.stale_batches(),
        health.scaler_errors(),
    )


def _jobs(dashboard: Dashboard) -> None:
    due = "keda_jobs_waiting_retry_next_due_timestamp_seconds"
    event = [
        Column("Lag", of_each(LAG)),
        Column(
            "Oldest",
            of_each("keda_jobs_consumer_oldest_age_seconds"),
            panels.SECONDS,
            health.OLD_MESSAGE,
        ),
        Column("Pods", or_zero(f"count by (job) (keda_jobs_concurrency_limit{{{JOB}}})", LAG, "job")),
        Column("In work", or_zero(f"sum by (job) (keda_jobs_messages_in_flight{{{JOB}}})", LAG, "job")),
        Column("Slots", or_zero(f"sum by (job) (keda_jobs_concurrency_limit{{{JOB}}})", LAG, "job")),
        Column("Retries waiting", of_each("keda_jobs_waiting_retries")),
        Column("Next retry", f"min by (job) ({due}{{{JOB}}}) * 1000", panels.WHEN),
        Column("Dead letters", of_each("keda_jobs_dead_letters_stored"), levels=health.LETTERS),
    ]
    batch = [
        Column("Claimable", of_each("keda_jobs_queue_claimable_rows")),
        Column("Waiting", of_each("keda_jobs_queue_waiting_rows")),
        Column("Given up", of_each("keda_jobs_queue_rows_given_up"), levels=health.GIVEN_UP),
        Column("Batches", of_each("keda_jobs_queue_batches_running")),
        Column("Stale", of_each("keda_jobs_queue_batches_stale"), levels=health.STALE),
        Column("Heartbeat", of_each("keda_jobs_queue_heartbeat_age_seconds"), panels.SECONDS),
    ]
    section(
        dashboard,
        "Which job?",
        jobs_table(
            "Event jobs",
            "Each job with a consumer, pods or none. A click on its name leads to its own page.",
            event,
            about_the_job_in_a_cell(page.ONE_JOB),
            absent="no event job, or no exporter",
        ),
        jobs_table(
            "Batch jobs",
            "Each job with a table. A click on its name leads to its own page.",
            batch,
            about_the_job_in_a_cell(page.BATCH),
            absent=_NO_BATCH_JOB,
        ),
    )


def _activity(dashboard: Dashboard) -> None:
    duration = "keda_jobs_message_duration_seconds"
    section(
        dashboard,
        "What is it doing?",
        curves(
            "Lag",
            "Messages that wait or are in work: the number that KEDA scales by.",
            Query(of_each(LAG), "{{job}}"),
            absent=NO_EXPORTER,
        ),
        curves(
            "Deliveries",
            "Messages that the jobs finished, whatever became of them.",
            Query(rate("keda_jobs_messages_total", "job"), "{{job}}"),
            unit=panels.MESSAGES_A_SECOND,
        ),
        curves(
            "Duration, p95",
            "From delivery to the confirmed ack; one message in 20 takes longer.",
            Query(quantile(0.95, duration, "job"), "{{job}}"),
            unit=panels.SECONDS,
        ),
        curves(
            "Pods",
            "Pods of event jobs that are scraped.",
            Query(or_zero(f"count by (job) (keda_jobs_concurrency_limit{{{JOB}}})", LAG, "job"), "{{job}}"),
            absent=NO_EXPORTER,
        ),
        curves(
            "Dead letters",
            "Messages that were given up and are still there. `unknown`: those that name no job with a consumer.",
            Query(of_each("keda_jobs_dead_letters_stored", _OR_UNKNOWN), "{{job}}"),
            absent=NO_EXPORTER,
        ),
        curves(
            "Rows",
            "Rows of batch jobs by what became of them, as PostgreSQL counts them.",
            Query(from_postgres("keda_jobs_queue_rows_total", "job, outcome"), "{{job}} {{outcome}}"),
            unit=panels.ROWS_A_SECOND,
            absent=_NO_BATCH_JOB,
        ),
    )


def _reasons(dashboard: Dashboard) -> None:
    section(
        dashboard,
        "Why?",
        curves(
            "Store operations",
            "Reads and writes of the bucket; `failed` was refused, `unavailable` makes the jobs pause.",
            Query(rate("keda_jobs_store_operation_duration_seconds_count", "outcome"), "{{outcome}}"),
            unit=panels.OPERATIONS_A_SECOND,
            alert="KedaJobsStoreFailing",
        ),
        curves(
            "Fetch age",
            "Since a pod's last fetch of messages ended, the slowest pod of each job. Below 3 s while slots are free.",
            Query(f"max by (job) (keda_jobs_fetch_age_seconds{{{JOB}}})", "{{job}}"),
            unit=panels.SECONDS,
            levels=health.SILENT,
            alert="KedaJobsLoopDoesNotPoll",
        ),
        curves(
            "Scalers",
            "1 while KEDA keeps pods of the job up.",
            Query('max by (scaledObject) (keda_scaler_active{scaledObject=~"$job"})', "{{scaledObject}}"),
            absent=NO_KEDA,
        ),
        curves(
            "Retries waiting",
            "Messages that come back at a time of their own. They hold no pod and count in no lag.",
            Query(of_each("keda_jobs_waiting_retries"), "{{job}}"),
            absent=NO_EXPORTER,
        ),
        curves(
            "Reconnects",
            "Connections to NATS that pods made anew.",
            Query(f"sum by (job) (increase(keda_jobs_reconnects_total{{{JOB}}}[$__rate_interval]))", "{{job}}"),
        ),
        curves(
            "Exporter",
            "How long it takes to read NATS and PostgreSQL, once per scrape.",
            Query("max by (source) (keda_jobs_scrape_duration_seconds)", "{{source}}"),
            unit=panels.SECONDS,
            absent=NO_EXPORTER,
        ),
    )


def _capacity(dashboard: Dashboard) -> None:
    section(
        dashboard,
        "Is there room?",
        number(
            "Storage used",
            "Share of JetStream's storage. A full one refuses publishes, dead letters and retries included.",
            f"max(keda_jobs_jetstream_storage_bytes) / ({_LIMIT} > 0)",
            unit=panels.SHARE,
            levels=Levels(0.6, 0.8),
            alert="KedaJobsStorageFull",
            absent="no limit",
        ).height(8),
        curves(
            "JetStream storage",
            "Bytes on the servers' disks, and their limit.",
            Query("max(keda_jobs_jetstream_storage_bytes)", "used"),
            Query(_LIMIT, "limit"),
            unit=panels.BYTES,
            width=7,
            absent=NO_EXPORTER,
        ),
        curves(
            "Stream, bytes",
            "What the stream holds: 14 days of messages, waiting retries, dead letters.",
            Query("max(keda_jobs_stream_bytes)", "bytes"),
            unit=panels.BYTES,
            width=7,
            absent=NO_EXPORTER,
        ),
        curves(
            "Stream, messages",
            "The same, counted.",
            Query("max(keda_jobs_stream_messages)", "messages"),
            width=7,
            absent=NO_EXPORTER,
        ),
    )
