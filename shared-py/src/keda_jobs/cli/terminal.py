"""Terminal output: tables, lines, progress. Control characters in foreign text never reach the terminal."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from keda_jobs.domain.durations import format_duration
from keda_jobs.errors import Misconfigured

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Without a terminal there is no window to fit: no row is cut.
_UNBOUNDED = 1000
_LINE_EVERY_S = 2.0


def console(*, stderr: bool = False) -> Console:
    """Return the console of stdout or stderr, as wide as its terminal."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _UNBOUNDED
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_out(renderable: RenderableType) -> None:
    """Print on stdout. A string stays one line, however long, for the program that reads it."""
    console().print(renderable, soft_wrap=isinstance(renderable, str))


def print_err(line: str) -> None:
    """Print one line on stderr. Work goes on where that is closed or full."""
    with contextlib.suppress(OSError):
        # Not typer.echo: it would bypass the progress bar, which replaces sys.stderr.
        sys.stderr.write(sanitize(line) + "\n")
        sys.stderr.flush()


def print_json(value: Any, *, in_one_line: bool = False) -> None:
    """Print one JSON document on stdout."""
    typer.echo(json.dumps(value, indent=None if in_one_line else 2))


class JsonArray:
    """Array on stdout that is printed as it grows, one item a line. One that is not closed is incomplete."""

    def __init__(self) -> None:
        self._is_empty = True

    def add(self, items: Iterable[str]) -> None:
        """Print the next items, each a JSON document in one line."""
        text = ",\n".join(f"  {item}" for item in items)
        if text:
            typer.echo(("[\n" if self._is_empty else ",\n") + text, nl=False)
            self._is_empty = False

    def close(self, end: str = "\n") -> None:
        """Print the end of the array."""
        typer.echo(("[]" if self._is_empty else "\n]") + end, nl=False)


def json_fields(value: DataclassInstance) -> dict[str, Any]:
    """Return the fields of a dataclass for JSON, with times in ISO format."""
    return {name: item.isoformat() if isinstance(item, datetime) else item for name, item in asdict(value).items()}


def report_missing(selected: frozenset[int], found: Iterable[int], kind: str) -> bool:
    """Print each selected number that was not found. Return whether there is any."""
    missing = sorted(selected.difference(found))
    for number in missing:
        print_err(f"{number} is not among these {kind}")
    return bool(missing)


def confirm(question: str, action: str) -> bool:
    """Ask on the terminal. Raises `Misconfigured` without one."""
    if not typer.get_text_stream("stdin").isatty():
        raise Misconfigured(f"refusing to {action} without confirmation: stdin is not a terminal, pass --yes")
    return typer.confirm(question, err=True)


def sanitize(text: str, *, keep_blanks: bool = False) -> str:
    """Return `text` as one line with `?` for unprintable characters, so that it cannot control the terminal."""
    line = text if keep_blanks else " ".join(text.split())
    return "".join(char if char.isprintable() else "?" for char in line)


def new_table(*columns: str, right: Sequence[str] = (), cut: Sequence[str] = ()) -> Table:
    """Build an empty table. In a narrow terminal the columns in `cut` shrink, and no cell wraps."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name in columns:
        # Rich shrinks the columns that may wrap. `cell` then cuts the text.
        table.add_column(name, no_wrap=name not in cut, justify="right" if name in right else "left")
    return table


def cell(text: object, *, style: str = "", below: str | None = None) -> Text:
    """Build a cell of sanitized text. A line that does not fit is cut. `below` is a second line."""
    content = Text(sanitize(str(text)), style=style, no_wrap=True, overflow="ellipsis")
    return content if below is None else content.append("\n" + sanitize(below), style="dim")


def add_row(table: Table, *values: object) -> None:
    """Add a row of cells."""
    table.add_row(*(value if isinstance(value, Text) else cell(value) for value in values))


def pluralize(number: int, noun: str) -> str:
    """Format a number with its noun: `1 row`, `2,000 rows`."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def format_due(moment: datetime, now: datetime) -> str:
    """Format the time until `moment`: `in 5m`, or `now`."""
    return f"in {format_duration(moment - now)}" if moment > now else "now"


def format_age(moment: datetime, now: datetime) -> str:
    """Format the time since `moment`."""
    return format_duration(now - moment)


def progress_bar(done: int, total: int, label: str) -> Table:
    """Build a progress bar of the terminal's width, with `label` to its right."""
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(ProgressBar(total=max(1, total), completed=done), cell(label))
    return grid


@contextmanager
def progress_meter(step: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show progress, rate and time left on stderr: a bar on a terminal, a line every two seconds elsewhere.

    Yield the function to call with the number done so far. If work continues, its first call has what was done before.
    """
    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[pace]}"))
    # Without a terminal nothing is drawn, but the rate is still measured.
    bar = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
    bar.add_task(step, total=total, pace="")
    [task] = bar.tasks
    next_line_at = time.monotonic() + _LINE_EVERY_S

    def update(done: int) -> None:
        nonlocal next_line_at
        bar.update(task.id, completed=done)
        bar.update(task.id, pace=_format_pace(task))
        if bar.disable and time.monotonic() >= next_line_at:
            next_line_at = time.monotonic() + _LINE_EVERY_S
            print_err(f"{step}: {task.fields['pace']}")

    with bar:
        yield update


def _format_pace(task: Task) -> str:
    total = f" of {task.total:,.0f}" if task.total else ""
    left = f", {format_duration(timedelta(seconds=task.time_remaining))} left" if task.time_remaining else ""
    return f"{task.completed:,.0f}{total}, {task.speed or 0:,.0f}/s{left}"
