"""How a batch job is shown: its status, a line of it, failed rows, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
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
    format_duration,
    format_percent,
    new_table,
    pluralize,
    progress_bar,
    sanitize,
)
from keda_jobs.status.batch import Running, Status


def status_line(found: Status) -> Text:
    """The status in one line."""
    failed = f"{found.counts.given_up:,} failed for good"
    return Text(
        sanitize(f"{found.now:%H:%M:%S} {found.table.batch_name}: {_progress(found)}, {failed}, {_pace(found)}")
    )


def status_view(found: Status, *, with_bar: bool = False) -> Group:
    """The status as tables, with a progress bar above them where there is a terminal to fill."""
    counts = found.counts
    heading = Text(sanitize(f"{found.table.batch_name}: {_progress(found)}, {_pace(found)}"))
    parts: list[RenderableType] = [heading, Text(), _counts_table(found)]
    if with_bar:
        parts.insert(1, progress_bar(counts.done, counts.total, format_percent(counts.done, counts.total)))
    if found.running:
        parts += [Text(), _running_table(found.running, found.now)]
    if found.counted.reasons:
        parts += [Text(), _reasons_table(found)]
    return Group(*parts, Text(), Text(_how_counted(found), style="dim"))


def _progress(found: Status) -> str:
    counts = found.counts
    return f"{counts.done:,} of {pluralize(counts.total, 'row')} done ({format_percent(counts.done, counts.total)})"


def _pace(found: Status) -> str:
    left = found.time_left
    if not found.counts.left:
        return "nothing left"
    return f"{found.rows_per_s:,.0f} rows/s, ETA {format_duration(left) if left is not None else '-'}"


def _counts_table(found: Status) -> Table:
    counts, due = found.counts, found.totals.next_due
    made = new_table("status", "rows", "share", "", right=("rows", "share"), cut=("",))
    for name, rows, beside in (
        ("pending", counts.pending, ""),
        ("processing", counts.processing, ""),
        ("completed", counts.completed, ""),
        ("failed, waiting for a retry", counts.waiting, f"the next {_due(due, found.now)}" if due else ""),
        ("failed for good", counts.given_up, ""),
        ("claimable now", found.claimable, "what the scaler sees"),
    ):
        add_row(made, name, f"{rows:,}", format_percent(rows, counts.total), cell(beside, style="dim"))
    return made


def _running_table(batches: Sequence[Running], now: datetime) -> Table:
    numbers = ("batch", "done", "of", "rows/s")
    made = new_table("batch", "pod", "done", "of", "rows/s", "heartbeat", "lease", right=numbers, cut=("pod",))
    for one in batches:
        add_row(
            made,
            one.batch_id,
            one.pod_name,
            f"{one.done:,}",
            f"{one.claimed:,}",
            f"{one.rows_per_s:,.0f}",
            f"{format_age(one.heartbeat_at, now)} ago",
            _lease(one.lease_expires_at, now),
        )
    return made


def _lease(expires_at: datetime, now: datetime) -> Text:
    if expires_at > now:
        return cell(f"{format_duration(expires_at - now)} left")
    return cell(f"over for {format_age(expires_at, now)}", style="red")


def _reasons_table(found: Status) -> Table:
    made = new_table("failed", "for good", "reason", right=("failed", "for good"), cut=("reason",))
    for one in found.counted.reasons:
        add_row(made, f"{one.rows:,}", f"{one.given_up:,}", one.reason or "-")
    if found.counted.other_reasons:
        add_row(made, "", "", cell(f"and {found.counted.other_reasons:,} other reasons", style="dim"))
    return made


def _how_counted(found: Status) -> str:
    counting = found.counted
    how = f"{pluralize(counting.counts.total, 'row')} of {found.table.name} counted in {counting.duration_s:.1f} s"
    return (
        how if counting.at == found.now else f"{how}, {format_age(counting.at, found.now)} ago; the reasons are of then"
    )


def _due(moment: datetime, now: datetime) -> str:
    return f"in {format_duration(moment - now)}" if moment > now else "now"


def status_json(found: Status) -> dict[str, Any]:
    """The status for scripts; the keys stay."""
    counts, left, next_due = found.counts, found.time_left, found.totals.next_due
    return {
        "time": found.now.isoformat(),
        "batch_name": found.table.batch_name,
        "table": found.table.name,
        "rows": {"total": counts.total, **asdict(counts)},
        "claimable": found.claimable,
        "next_retry_at": next_due.isoformat() if next_due else None,
        "rows_per_s": round(found.rows_per_s, 1),
        "eta_s": None if left is None else round(left.total_seconds(), 1),
        "running": [_jsonable(one) | {"is_lease_over": one.lease_expires_at <= found.now} for one in found.running],
        "reasons": [asdict(one) for one in found.counted.reasons],
        "other_reasons": found.counted.other_reasons,
        "counted_at": found.counted.at.isoformat(),
        "count_duration_s": round(found.counted.duration_s, 3),
    }


def _jsonable(value: Running) -> dict[str, Any]:
    return {key: item.isoformat() if isinstance(item, datetime) else item for key, item in asdict(value).items()}


def failures_table(rows: Sequence[FailedRow], key: str, now: datetime) -> Table:
    """A line for each failed row."""
    made = new_table(key, "attempts", "next try", "batch", "error", right=(key, "attempts", "batch"), cut=("error",))
    for row in rows:
        due = _due(row.next_attempt_at, now) if row.next_attempt_at else "never"
        add_row(made, row.key, row.attempts, due, row.batch_id or "-", row.error or "-")
    return made


def failure_json(row: FailedRow) -> dict[str, Any]:
    """A failed row for scripts; the keys stay."""
    due = row.next_attempt_at
    return row._asdict() | {"next_attempt_at": due.isoformat() if due else None, "given_up": due is None}
