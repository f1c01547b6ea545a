"""Tables at the end: users by status, the work of each worker, and why users failed."""

from __future__ import annotations

from rich.table import Table

from demo.users.progress import Report
from keda_jobs.cli.terminal import add_row, new_table
from users_batch.errors import InvalidUser


def status_table(report: Report) -> Table:
    """Build a table with a row for each status."""
    rows = new_table("status", "users", right=("users",))
    for status, users in report.by_status.items():
        add_row(rows, status, f"{users:,}")
    return rows


def workers_table(report: Report) -> Table:
    """Build a table with a row for each worker."""
    numbers = ("batches", "completed", "failed", "rows/s")
    rows = new_table("worker", *numbers, right=numbers)
    for share in report.progress.shares:
        counts = (share.completed, share.failed, share.rows_per_s)
        add_row(rows, share.worker, share.batches, *(f"{count:,.0f}" for count in counts))
    return rows


def reasons_table(report: Report) -> Table:
    """Build a table with a row for each reason and one of its users."""
    rows = new_table("why they failed", "users", "such as", "entered", right=("users", "such as"), cut=("entered",))
    for reason in report.reasons:
        why = reason.error.removeprefix(f"{InvalidUser.__name__}: ")
        entered = repr(reason.name if why.startswith("name") else reason.email)
        add_row(rows, why, f"{reason.users:,}", reason.id, entered)
    return rows
