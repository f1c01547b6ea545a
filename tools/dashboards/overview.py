"""Dashboard of the whole platform: is anything wrong, and with which job."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models import units

from dashboards import health, page
from dashboards.health import NO_BATCH_JOB
from dashboards.page import Panels
from dashboards.panels import Column, Levels, Query, curves, jobs_table, number, verdict
from dashboards.queries import (
    JOB,
    LAG,
    exported_rate,
    highest,
    increase,
    or_zero,
    over_pods,
    per_job,
    pods,
    quantile,
    rate,
)
from exporter.metrics import UNKNOWN_JOB

_JOBS = '{__name__=~"keda_jobs_consumer_lag|keda_jobs_queue_claimable_rows"}'
_NEXT_DUE = "keda_jobs_waiting_retry_next_due_timestamp_seconds"
_LIMIT = "max(keda_jobs_jetstream_storage_max_bytes)"
_PODS = pods("keda_jobs_concurrency_limit", LAG, "job")
_OR_UNKNOWN = f'job=~"$job|{UNKNOWN_JOB}"'


def overview() -> Dashboard:
    """Build the dashboard from the exporter's numbers, which hold when no job has a pod."""
    return page.page(
        page.OVERVIEW,
        "Keda-jobs: overview",
        "Is the platform healthy, what is it doing, and which job is in trouble?",
        page.any_of(_JOBS),
        {
            "Is it healthy?": _health(),
            "Which job?": _jobs(),
            "What is it doing?": _activity(),
            "Why?": _reasons(),
            "Is there room?": _capacity(),
        },
    )


def _health() -> Panels:
    overdue = f"max(clamp_min(time() - {_NEXT_DUE}{{{JOB}}}, 0))"
    return (
        verdict(
            "Exporter",
            "The exporter runs and reads NATS and PostgreSQL. Most of this page depends on it.",
            "min(keda_jobs_scrape_ok) or vector(0)",
            good="reads all",
            bad="failing",
            alert="KedaJobsExporterDown",
        ),
        health.oldest_message(),
        health.dead_letters(_OR_UNKNOWN),
        number(
            "Retries overdue",
            "Time since the most overdue retry was due.",
            or_zero(overdue, "keda_jobs_waiting_retries"),
            unit=units.Seconds,
            levels=Levels(30, 300),
            alert="KedaJobsRetryOverdue",
        ),
        health.paused_pods(),
        health.failed_rows(),
        health.stale_batches(),
        health.scaler_errors(),
    )


def _jobs() -> Panels:
    event = [
        Column("Lag", per_job(LAG)),
        Column("Oldest", per_job("keda_jobs_consumer_oldest_age_seconds"), health.OLD_MESSAGE),
        Column("Pods", _PODS),
        Column("In flight", or_zero(over_pods("keda_jobs_messages_in_flight", "job"), LAG, "job")),
        Column("Limit", or_zero(over_pods("keda_jobs_concurrency_limit", "job"), LAG, "job")),
        Column("Retries waiting", per_job("keda_jobs_waiting_retries")),
        Column("Next retry", f"min by (job) ({_NEXT_DUE}{{{JOB}}}) * 1000"),
        Column("Dead letters", per_job("keda_jobs_dead_letters_stored"), levels=health.DEAD_LETTERS),
    ]
    batch = [
        Column("Claimable", per_job("keda_jobs_queue_claimable_rows")),
        Column("Waiting", per_job("keda_jobs_queue_waiting_rows")),
        Column("Failed", per_job("keda_jobs_queue_rows_failed_permanently"), levels=health.FAILED_ROWS),
        Column("Batches", per_job("keda_jobs_queue_batches_running")),
        Column("Stale", per_job("keda_jobs_queue_batches_stale"), levels=health.STALE),
        Column("Heartbeat", per_job("keda_jobs_queue_heartbeat_age_seconds")),
    ]
    return (
        jobs_table(
            "Event jobs",
            "Jobs with a consumer, with or without pods. Click a name for the job's page.",
            event,
            page.link_from_cell(page.ONE_JOB),
            absent="no event job, or no exporter",
        ),
        jobs_table(
            "Batch jobs",
            "Jobs with a table. Click a name for the job's page.",
            batch,
            page.link_from_cell(page.BATCH),
            absent=NO_BATCH_JOB,
        ),
    )


def _activity() -> Panels:
    return (
        curves(
            "Lag",
            "Messages that are pending or in flight, the number that KEDA scales on.",
            Query(per_job(LAG), "{{job}}"),
        ),
        curves(
            "Deliveries",
            "Deliveries that the jobs finished, whatever the outcome.",
            Query(rate("keda_jobs_messages_total", "job"), "{{job}}"),
        ),
        curves(
            "Duration, p95",
            "From delivery to the confirmed ack. One message in 20 takes longer.",
            Query(quantile(0.95, "keda_jobs_message_duration_seconds", "job"), "{{job}}"),
        ),
        curves("Pods", "Pods of event jobs that are scraped.", Query(_PODS, "{{job}}")),
        curves(
            "Dead letters",
            "Dead letters in the stream. The job of `unknown` ones has no consumer.",
            Query(per_job("keda_jobs_dead_letters_stored", _OR_UNKNOWN), "{{job}}"),
        ),
        curves(
            "Rows",
            "Rows of batch jobs by outcome, counted by PostgreSQL.",
            Query(exported_rate("keda_jobs_queue_rows_total", "job, outcome"), "{{job}} {{outcome}}"),
            absent=NO_BATCH_JOB,
        ),
    )


def _reasons() -> Panels:
    return (
        curves(
            "Store operations",
            "Reads and writes of the bucket. The store refused the `failed` ones. `unavailable` pauses the jobs.",
            Query(rate("keda_jobs_store_operation_duration_seconds_count", "outcome"), "{{outcome}}"),
            alert="KedaJobsStoreFailing",
        ),
        curves(
            "Fetch age",
            "Time since the last fetch of each job's slowest pod. Below 3 s while a pod has room for messages.",
            Query(highest("keda_jobs_fetch_age_seconds", "job"), "{{job}}"),
            levels=health.SILENT,
            alert="KedaJobsLoopDoesNotPoll",
        ),
        curves(
            "Scalers",
            "1 while KEDA keeps pods of the job running.",
            Query('max by (scaledObject) (keda_scaler_active{scaledObject=~"$job"})', "{{scaledObject}}"),
        ),
        curves(
            "Retries waiting",
            "Messages scheduled for a later delivery. They hold no pod and do not count as lag.",
            Query(per_job("keda_jobs_waiting_retries"), "{{job}}"),
        ),
        curves(
            "Reconnects",
            "New connections of pods to NATS after a lost one.",
            Query(increase("keda_jobs_reconnects_total", "job"), "{{job}}"),
        ),
        curves(
            "Exporter",
            "Time it takes to read NATS and PostgreSQL, once per scrape.",
            Query("max by (source) (keda_jobs_scrape_duration_seconds)", "{{source}}"),
        ),
    )


def _capacity() -> Panels:
    return (
        number(
            "Storage used",
            "Used share of JetStream's storage. A full one refuses publishes, including dead letters and retries.",
            f"max(keda_jobs_jetstream_storage_bytes) / ({_LIMIT} > 0)",
            unit=units.PercentUnit,
            levels=Levels(0.6, 0.8),
            alert="KedaJobsStorageFull",
            absent="no limit",
        ).height(8),
        curves(
            "JetStream storage",
            "Bytes on the servers' disks, and the limit.",
            Query("max(keda_jobs_jetstream_storage_bytes)", "used"),
            Query(_LIMIT, "limit"),
            width=7,
        ),
        curves(
            "Streams, bytes",
            "Size of each stream: 14 days of messages and the dead letters, and the waiting retries.",
            Query("max by (stream) (keda_jobs_stream_bytes)", "{{stream}}"),
            width=7,
        ),
        curves(
            "Streams, messages",
            "Number of messages in each stream.",
            Query("max by (stream) (keda_jobs_stream_messages)", "{{stream}}"),
            width=7,
        ),
    )
