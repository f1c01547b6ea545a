"""What a person sees: bars or lines while the workers run, and tables at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.lines import Lines
from demo_batch.seed import Seeded
from demo_batch.tally import Report, Tally
from keda_jobs.cli.terminal import add_row, cell, console, new_table
from users_batch.errors import InvalidUser

_BAR_WIDTH = 40


class Show(Protocol):
    """Shows a tally; the last one in any case."""

    def __call__(self, tally: Tally, *, last: bool = False) -> None: ...


@contextmanager
def progress(seeded: Seeded) -> Iterator[Show]:
    """Gives a function to call often: it keeps bars up to date on a terminal, and prints a line a second elsewhere."""
    screen = console()
    if not screen.is_terminal:
        lines = Lines()
        yield lambda tally, last=False: lines.show(_line(tally, seeded), last=last)
        return
    with Live(_bars(Tally(), seeded), console=screen, refresh_per_second=10) as live:
        yield lambda tally, last=False: live.update(_bars(tally, seeded), refresh=last)


def _line(tally: Tally, seeded: Seeded) -> str:
    return (
        f"{tally.rows:,} of {seeded.rows:,} rows, {tally.rows_per_s:,.0f} rows/s: "
        f"completed {tally.completed:,}, failed {tally.failed:,}"
    )


def _bars(tally: Tally, seeded: Seeded) -> RenderableType:
    bars = Table.grid(padding=(0, 2))
    good = seeded.rows - seeded.invalid
    _add_bar(bars, "completed", tally.completed, good, "green", f"{tally.rows_per_s:,.0f} rows/s")
    _add_bar(bars, "failed", tally.failed, seeded.invalid, "red")
    for share in tally.shares:
        _add_bar(bars, share.worker, share.rows, seeded.rows, "cyan", f"{share.batches} batches")
    return bars


def _add_bar(bars: Table, name: str, count: int, most: int, style: str, beside: str = "") -> None:
    bar = ProgressBar(max(most, 1), count, _BAR_WIDTH, complete_style=style, finished_style=style)
    bars.add_row(name, bar, Text(f"{count:,}", justify="right"), cell(beside))


def status_table(report: Report) -> Table:
    """A row for each status."""
    made = new_table("status", "users", right=("users",))
    for status, users in report.by_status.items():
        add_row(made, status, f"{users:,}")
    return made


def workers_table(report: Report) -> Table:
    """A row for each worker."""
    numbers = ("batches", "completed", "failed", "rows/s")
    made = new_table("worker", *numbers, right=numbers)
    for share in report.tally.shares:
        add_row(
            made, share.worker, share.batches, f"{share.completed:,}", f"{share.failed:,}", f"{share.rows_per_s:,.0f}"
        )
    return made


def failures_table(report: Report) -> Table:
    """A row for each reason, with one of its users."""
    made = new_table("why they failed", "users", "such as", "entered", right=("users", "such as"), cut=("entered",))
    for reason in report.reasons:
        why = reason.error.removeprefix(f"{InvalidUser.__name__}: ")
        entered = repr(reason.name if why.startswith("name") else reason.email)
        add_row(made, why, f"{reason.users:,}", reason.id, entered)
    return made


def summary(report: Report) -> str:
    """The one line to remember."""
    tally, workers = report.tally, len(report.tally.shares)
    return f"{tally.rows:,} users in {tally.seconds:.1f} s by {workers} workers: {tally.rows_per_s:,.0f} rows/s."
