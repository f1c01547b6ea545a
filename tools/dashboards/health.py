"""What more than one dashboard shows: numbers with their levels and their section of the runbook, KEDA's view."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.builders.stat import Panel

from dashboards import panels
from dashboards.panels import Levels, Query, curves, number
from dashboards.queries import JOB, LAG, or_zero, total

OLD_MESSAGE = Levels(600, 1800)
LETTERS = Levels(1, 100)
GIVEN_UP = Levels(1, 100_000)
STALE = Levels(1, 2)
SILENT = Levels(30, 60)

NO_EXPORTER = "no exporter"
NO_KEDA = "KEDA is not scraped"


def oldest_message() -> Panel:
    """Of an event job."""
    return number(
        "Oldest message",
        "Age of the oldest message that is not finished; retries that wait do not count.",
        f"max(keda_jobs_consumer_oldest_age_seconds{{{JOB}}})",
        unit=panels.SECONDS,
        levels=OLD_MESSAGE,
        alert="KedaJobsOldestMessageTooOld",
        absent=NO_EXPORTER,
    )


def dead_letters(selector: str = JOB) -> Panel:
    """Of the event jobs that `selector` chooses."""
    return number(
        "Dead letters",
        "Messages that were given up and wait for a person: `keda-jobs dlq ls`.",
        total("keda_jobs_dead_letters_stored", selector),
        levels=LETTERS,
        alert="KedaJobsDeadLettersArriving",
        absent=NO_EXPORTER,
    )


def paused_pods() -> Panel:
    """Of an event job."""
    return number(
        "Paused pods",
        "Pods that rest because the store or NATS is in trouble.",
        or_zero(f"sum(keda_jobs_paused{{{JOB}}})", LAG),
        levels=Levels(1, 1),
        alert="KedaJobsPaused",
        absent=NO_EXPORTER,
    )


def rows_given_up() -> Panel:
    """Of a batch job."""
    return number(
        "Rows given up",
        "Rows that failed for good and wait for a person: `keda-jobs batch status`.",
        total("keda_jobs_queue_rows_given_up"),
        levels=GIVEN_UP,
        absent="no batch job",
    )


def stale_batches() -> Panel:
    """Of a batch job."""
    return number(
        "Stale batches",
        "Running batches whose lease is over; another worker takes their rows over.",
        total("keda_jobs_queue_batches_stale"),
        levels=STALE,
        alert="KedaJobsBatchesStale",
        absent="no batch job",
    )


def scaler_errors() -> Panel:
    """KEDA's, of any job."""
    return number(
        "Scaler errors",
        "What KEDA failed to read of NATS or PostgreSQL in the last 15 minutes; it does not scale meanwhile.",
        'sum(increase(keda_scaler_detail_errors_total{scaledObject=~"$job"}[15m]))',
        levels=Levels(1, 10),
        alert="KedaJobsScalerErrors",
        absent=NO_KEDA,
    )


def scaler() -> timeseries.Panel:
    """KEDA's view of one job."""
    return curves(
        "Scaler",
        "What KEDA makes of it: the number that it read, and 1 while it keeps pods up.",
        Query('max(keda_scaler_metrics_value{scaledObject=~"$job"})', "read"),
        Query('max(keda_scaler_active{scaledObject=~"$job"})', "active"),
        absent=NO_KEDA,
    )
