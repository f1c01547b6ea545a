"""Panels that several dashboards share: numbers with levels and a section of the runbook, and KEDA's view."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.builders.stat import Panel

from dashboards.panels import Levels, Query, curves, number
from dashboards.queries import JOB, LAG, SCALED, highest, or_zero, over_pods, total

OLD_MESSAGE = Levels(600, 1800)
DEAD_LETTERS = Levels(1, 100)
FAILED_ROWS = Levels(1, 100_000)
STALE = Levels(1, 2)
SILENT = Levels(30, 60)

NO_BATCH_JOB = "no batch job"


def oldest_message() -> Panel:
    """Show the age of the oldest message of event jobs."""
    return number(
        "Oldest message",
        "Age of the oldest unfinished message. Waiting retries do not count.",
        highest("keda_jobs_consumer_oldest_age_seconds"),
        levels=OLD_MESSAGE,
        alert="KedaJobsOldestMessageTooOld",
    )


def dead_letters(selector: str = JOB) -> Panel:
    """Show the number of dead letters of the selected event jobs."""
    return number(
        "Dead letters",
        "Messages that failed permanently and need attention: `keda-jobs dlq ls`.",
        total("keda_jobs_dead_letters_stored", selector),
        levels=DEAD_LETTERS,
        alert="KedaJobsDeadLettersArriving",
    )


def paused_pods() -> Panel:
    """Show the number of paused pods of event jobs."""
    return number(
        "Paused pods",
        "Pods that pause because the store or NATS is unavailable.",
        or_zero(over_pods("keda_jobs_paused"), LAG),
        levels=Levels(1, 1),
        alert="KedaJobsPaused",
    )


def failed_rows() -> Panel:
    """Show the number of rows of batch jobs that failed permanently."""
    return number(
        "Failed rows",
        "Rows that failed permanently and need attention: `keda-jobs batch status`.",
        total("keda_jobs_queue_rows_failed_permanently"),
        levels=FAILED_ROWS,
        alert="KedaJobsRowsGivenUp",
        absent=NO_BATCH_JOB,
    )


def stale_batches() -> Panel:
    """Show the number of batches with an expired lease."""
    return number(
        "Stale batches",
        "Running batches whose lease has expired. Another worker recovers their rows.",
        total("keda_jobs_queue_batches_stale"),
        levels=STALE,
        alert="KedaJobsBatchesStale",
        absent=NO_BATCH_JOB,
    )


def stranded_rows() -> Panel:
    """Show the number of rows that no worker gets."""
    return number(
        "Stranded rows",
        "Rows that no worker gets, found by the last `keda-jobs batch check`.",
        or_zero(total("keda_jobs_queue_stranded_rows"), "keda_jobs_queue_claimable_rows"),
        levels=STALE,
        alert="KedaJobsQueueRowsStranded",
        absent=NO_BATCH_JOB,
    )


def set_aside_rows() -> Panel:
    """Show the number of rows that cannot be written."""
    return number(
        "Set aside",
        "Rows that cannot be written and are not tried again: `keda-jobs batch failures --given-up`.",
        total("keda_jobs_queue_set_aside_rows"),
        levels=STALE,
        alert="KedaJobsQueueRowsSetAside",
        absent=NO_BATCH_JOB,
    )


def scaler_errors() -> Panel:
    """Show the number of KEDA's errors for any job."""
    return number(
        "Scaler errors",
        "Failed reads of NATS or PostgreSQL by KEDA in the last 15 minutes. KEDA does not scale without them.",
        f"sum(increase(keda_scaler_detail_errors_total{{{SCALED}}}[15m]))",
        levels=Levels(1, 10),
        alert="KedaJobsScalerErrors",
    )


def scaler() -> timeseries.Panel:
    """Show KEDA's view of one job."""
    return curves(
        "Scaler",
        "KEDA's view: the number that it read, and 1 while it keeps pods running.",
        Query(f'max(keda_scaler_metrics_value{{{SCALED}, triggerIndex="0"}})', "read"),
        Query(f"max(keda_scaler_active{{{SCALED}}})", "active"),
    )
