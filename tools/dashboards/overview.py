"""Dashboard of the whole platform: is anything wrong, and with which job."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models import units

from dashboards import health, page
from dashboards.health import NO_BATCH_JOB
from dashboards.page import HERE, Panels
from dashboards.panels import Column, Levels, Query, curves, jobs_table, number, spread, verdict
from dashboards.queries import (
    JOB,
    LAG,
    SCALED,
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

_JOBS = '__name__=~"keda_jobs_consumer_lag|keda_jobs_queue_claimable_rows"'
_NEXT_DUE = "keda_jobs_waiting_retry_next_due_timestamp_seconds"
_LIMIT = highest("keda_jobs_jetstream_storage_max_bytes", selector=HERE)
_USED = highest("keda_jobs_jetstream_storage_bytes", selector=HERE)
_PODS = pods("keda_jobs_concurrency_limit", LAG, "job")
_OR_UNKNOWN = f'{HERE}, job=~"$job|{UNKNOWN_JOB}"'


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
    return spread(
        verdict(
            "Exporter",
            "The exporter runs and reads NATS and PostgreSQL. Most of this page depends on it.",
            f"min(keda_jobs_scrape_ok{{{HERE}}}) or vector(0)",
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
        number(
            "Events for later overdue",
            "Events for later that have been due for over a minute, and that NATS has not published.",
            f"sum({highest('keda_jobs_delayed_events_overdue', selector=HERE)})",
            levels=Levels(1, 1),
            alert="KedaJobsDelayedEventOverdue",
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
            Query(f"max by (scaledObject) (keda_scaler_active{{{SCALED}}})", "{{scaledObject}}"),
        ),
        curves(
            "Retries waiting",
            "Messages scheduled for a later delivery. They hold no pod and do not count as lag.",
            Query(per_job("keda_jobs_waiting_retries"), "{{job}}"),
            width=6,
            alert="KedaJobsRetriesPilingUp",
        ),
        curves(
            "Events for later",
            "Events that NATS is to publish later, and schedules that repeat. They do not count as lag.",
            Query(highest("keda_jobs_delayed_events", selector=HERE), "waiting"),
            Query(highest("keda_jobs_delayed_events_overdue", selector=HERE), "overdue"),
            width=6,
            alert="KedaJobsDelayedEventOverdue",
        ),
        curves(
            "Reconnects",
            "New connections of pods to NATS after a lost one.",
            Query(increase("keda_jobs_reconnects_total", "job"), "{{job}}"),
            width=6,
        ),
        curves(
            "Exporter",
            "Time it takes to read NATS and PostgreSQL, once per scrape.",
            Query(highest("keda_jobs_scrape_duration_seconds", "source", HERE), "{{source}}"),
            width=6,
        ),
    )


def _capacity() -> Panels:
    return (
        *_health_of_streams(),
        curves(
            "JetStream storage",
            "Bytes on the servers' disks, and the limit.",
            Query(_USED, "used"),
            Query(_LIMIT, "limit"),
        ),
        curves(
            "Streams, bytes",
            "Size of each stream: 14 days of messages and the dead letters, and the waiting retries.",
            Query(highest("keda_jobs_stream_bytes", "stream", HERE), "{{stream}}"),
        ),
        curves(
            "Streams, messages",
            "Number of messages in each stream.",
            Query(highest("keda_jobs_stream_messages", "stream", HERE), "{{stream}}"),
        ),
    )


def _health_of_streams() -> Panels:
    return spread(
        *_storage(),
        number(
            "Streams without a leader",
            "They take no event and deliver none.",
            f"sum({highest('keda_jobs_stream_leaderless', 'stream', HERE)})",
            levels=Levels(1, 1),
            alert="KedaJobsNatsNoLeader",
            absent="NATS_MONITORING_URL is not set",
        ),
        number(
            "Streams with a failed write",
            "A NATS server stores nothing more in them until it is restarted.",
            f"sum({highest('keda_jobs_stream_write_failed', 'stream', HERE)})",
            levels=Levels(1, 1),
            alert="KedaJobsStreamWriteFailed",
            absent="NATS_MONITORING_URL is not set",
        ),
        number(
            "Certificate",
            "Time until the certificate expires that NATS shows to clients.",
            f"min(keda_jobs_nats_certificate_expiry_timestamp_seconds{{{HERE}}}) - time()",
            unit=units.Seconds,
            alert="KedaJobsCertificateExpires",
            absent="no TLS",
        ),
        number(
            "Last backup",
            "Age of the last complete backup of the streams. With an age of decades there was none yet.",
            f"time() - {highest('keda_jobs_last_backup_timestamp_seconds', selector=HERE)}",
            unit=units.Seconds,
            levels=Levels(7200, 10_800),
            alert="KedaJobsBackupTooOld",
            absent="no backups",
        ),
        number(
            "Replicas behind",
            "Replicas of streams that are offline or behind. With a single server there is none.",
            f"sum({highest('keda_jobs_stream_replicas_behind', 'stream', HERE)})",
            levels=Levels(1, 2),
            alert="KedaJobsNatsReplicasBehind",
        ),
    )


def _storage() -> tuple[stat.Panel, ...]:
    growth = f"max(deriv(keda_jobs_jetstream_storage_bytes{{{HERE}}}[6h]))"
    return (
        number(
            "Storage used",
            "Used share of JetStream's storage. A full one refuses publishes, including dead letters and retries.",
            f"{_USED} / ({_LIMIT} > 0)",
            unit=units.PercentUnit,
            levels=Levels(0.6, 0.8),
            alert="KedaJobsStorageFull",
            absent="no limit",
        ),
        number(
            "Full in",
            "Time until the storage is full, at the pace of the last six hours.",
            f"({_LIMIT} - {_USED}) / ({growth} > 0)",
            unit=units.Seconds,
            alert="KedaJobsStorageFilling",
            absent="it does not grow",
        ),
    )
