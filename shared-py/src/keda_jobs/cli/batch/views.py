"""Views of a batch job: its status as tables, as a line and as JSON, and its failed rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from keda_jobs.claims.failed_rows import FailedRow
from keda_jobs.cli.terminal import (
    add_row,
    cell,
    format_age,
    format_due,
    json_fields,
    new_table,
    pluralize,
    progress_bar,
    sanitize,
)
from keda_jobs.domain.durations import format_duration
from keda_jobs.status.batch import BatchStatus, RunningBatch
from keda_jobs.status.queues import CurrentHold
from keda_jobs.status.row_counts import FailureReason, Failures, RowCounts, format_percent


def status_line(status: BatchStatus) -> Text:
    """Format the status in one line."""
    failed = f"{status.counts.failed_permanently:,} failed permanently"
    return Text(
        sanitize(f"{status.now:%H:%M:%S} {status.table.batch_name}: {_progress(status)}, {failed}, {_pace(status)}")
    )


def status_view(status: BatchStatus, *, with_bar: bool = False) -> Group:
    """Build the tables of the status, with a progress bar above them on a full screen."""
    counts = status.counts
    heading = Text(sanitize(f"{status.table.batch_name}: {_progress(status)}, {_pace(status)}"))
    parts: list[RenderableType] = [heading, Text(), _counts_table(status)]
    if status.hold:
        parts.insert(1, Text(sanitize(_hold_note(status.hold, status.now)), style="yellow"))
    if with_bar:
        parts.insert(1, progress_bar(counts.done, counts.total, format_percent(counts.done, counts.total)))
    if status.running:
        parts += [Text(), _running_table(status.running, status.now)]
    if status.failures.reasons:
        parts += [Text(), _reasons_table(status.failures)]
    return Group(*parts, Text(), _check_note(status))


def _progress(status: BatchStatus) -> str:
    counts = status.counts
    return f"{counts.done:,} of {pluralize(counts.total, 'row')} done ({format_percent(counts.done, counts.total)})"


def _pace(status: BatchStatus) -> str:
    left = status.time_left
    if not status.counts.left:
        return "nothing left"
    held = f", held {format_due(status.hold.until, status.now)}" if status.hold else ""
    return f"{status.rows_per_s:,.0f} rows/s, ETA {format_duration(left) if left is not None else '-'}{held}"


def _hold_note(hold: CurrentHold, now: datetime) -> str:
    return f"held until {hold.until:%Y-%m-%d %H:%M:%S} UTC, {format_due(hold.until, now)}: {hold.reason}"


def _counts_table(status: BatchStatus) -> Table:
    counts, due = status.counts, status.next_due
    aside = f"{status.set_aside:,} set aside, see `batch failures`" if status.set_aside else ""
    table = new_table("status", "rows", "share", "", right=("rows", "share"), cut=("",))
    for name, rows, beside in (
        ("pending", counts.pending, aside),
        ("processing", counts.processing, ""),
        ("completed", counts.completed, ""),
        ("failed, waiting for a retry", counts.waiting, f"the next {format_due(due, status.now)}" if due else ""),
        ("failed permanently", counts.failed_permanently, ""),
        ("claimable now", status.claimable, "what the scaler sees"),
    ):
        add_row(table, name, f"{rows:,}", format_percent(rows, counts.total), cell(beside, style="dim"))
    return table


def _running_table(batches: Sequence[RunningBatch], now: datetime) -> Table:
    numbers = ("batch", "done", "of", "rows/s")
    table = new_table("batch", "pod", "done", "of", "rows/s", "heartbeat", "lease", right=numbers, cut=("pod",))
    for batch in batches:
        add_row(
            table,
            batch.batch_id,
            batch.pod_name,
            f"{batch.done:,}",
            f"{batch.claimed:,}",
            f"{batch.rows_per_s:,.0f}",
            f"{format_age(batch.heartbeat_at, now)} ago",
            _lease(batch.lease_expires_at, now),
        )
    return table


def _lease(expires_at: datetime, now: datetime) -> Text:
    if expires_at > now:
        return cell(f"{format_duration(expires_at - now)} left")
    return cell(f"expired {format_age(expires_at, now)} ago", style="red")


def _reasons_table(failures: Failures) -> Table:
    table = new_table("failed", "permanently", "reason", right=("failed", "permanently"), cut=("reason",))
    for reason in failures.reasons:
        add_row(table, f"{reason.rows:,}", f"{reason.failed_permanently:,}", reason.reason or "-")
    if failures.other_reasons:
        add_row(table, "", "", cell(f"and {failures.other_reasons:,} other reasons", style="dim"))
    return table


def _check_note(status: BatchStatus) -> Text:
    """Say whether the numbers of the queue agree with the rows."""
    check = status.last_check
    if check is None:
        return Text("never compared with the rows: keda-jobs batch check", style="dim")
    ago = f"{format_age(check.checked_at, status.now)} ago"
    if not check.stranded_rows:
        return Text(f"compared with the rows {ago}: no row is missing", style="dim")
    missing = pluralize(check.stranded_rows, "row")
    return Text(f"no worker gets {missing} more (checked {ago}): keda-jobs batch check --repair", style="red")


def status_json(status: BatchStatus) -> dict[str, Any]:
    """Build the status for scripts. The keys are stable."""
    counts, left, next_due, check = status.counts, status.time_left, status.next_due, status.last_check
    hold = status.hold
    return {
        "time": status.now.isoformat(),
        "batch_name": status.table.batch_name,
        "table": status.table.name,
        "rows": {"total": counts.total} | _jsonable(counts),
        "set_aside": status.set_aside,
        "claimable": status.claimable,
        "next_retry_at": next_due.isoformat() if next_due else None,
        "rows_per_s": round(status.rows_per_s, 1),
        "eta_s": None if left is None else round(left.total_seconds(), 1),
        "running": [
            _jsonable(batch) | {"is_lease_over": batch.lease_expires_at <= status.now} for batch in status.running
        ],
        "reasons": [_jsonable(reason) for reason in status.failures.reasons],
        "other_reasons": status.failures.other_reasons,
        "counted_at": status.failures.at.isoformat(),
        "count_duration_s": round(status.failures.duration_s, 3),
        "checked_at": check.checked_at.isoformat() if check else None,
        "stranded_rows": check.stranded_rows if check else None,
        "held_until": hold.until.isoformat() if hold else None,
        "hold_reason": hold.reason if hold else None,
    }


def _jsonable(value: RowCounts | FailureReason | RunningBatch) -> dict[str, Any]:
    return {"given_up" if name == "failed_permanently" else name: item for name, item in json_fields(value).items()}


def failures_table(rows: Sequence[FailedRow], key: str, now: datetime) -> Table:
    """Build a table with a line for each failed row."""
    table = new_table(key, "attempts", "next try", "batch", "error", right=(key, "attempts", "batch"), cut=("error",))
    for row in rows:
        due = format_due(row.next_attempt_at, now) if row.next_attempt_at else "never"
        add_row(table, row.key, row.attempts, due, row.batch_id or "-", row.error or "-")
    return table


def failure_json(row: FailedRow) -> dict[str, Any]:
    """Build a failed row for scripts. The keys are stable."""
    due = row.next_attempt_at
    fields = row._asdict() | {"next_attempt_at": due.isoformat() if due else None, "given_up": due is None}
    del fields["moment"]
    return fields
