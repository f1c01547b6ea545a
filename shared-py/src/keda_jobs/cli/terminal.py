"""What a person sees: tables, single lines, progress. Strangers' text never reaches the terminal's controls."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
# Without a terminal nobody's window is narrow: no row is cut for it.
_UNBOUNDED = 1000
_LINE_EVERY_S = 2.0


def console(*, stderr: bool = False) -> Console:
    """The console of stdout or stderr, as wide as its terminal."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _UNBOUNDED
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def show(renderable: RenderableType) -> None:
    """Print on stdout."""
    console().print(renderable)


def say(line: str) -> None:
    """One line on stderr."""
    # Not typer.echo: it writes past the progress bar, which stands in for sys.stderr.
    sys.stderr.write(safe(line) + "\n")
    sys.stderr.flush()


def show_json(value: Any, *, in_one_line: bool = False) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=None if in_one_line else 2))


def safe(text: str, *, keep_blanks: bool = False) -> str:
    """`text` in one line, with `?` for what is not printable: no letter may steer the operator's terminal."""
    line = text if keep_blanks else " ".join(text.split())
    return "".join(char if char.isprintable() else "?" for char in line)


def table(*columns: str, right: Sequence[str] = (), cut: Sequence[str] = ()) -> Table:
    """An empty table; where the terminal is narrow the columns in `cut` give way, and no cell is wrapped."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name in columns:
        # Rich narrows the columns that may wrap; `plain` then cuts instead of wrapping.
        made.add_column(name, no_wrap=name not in cut, justify="right" if name in right else "left")
    return made


def plain(text: object, *, style: str = "", below: str | None = None) -> Text:
    """Text as it is, each line cut with … where there is no room; `below` is a second line."""
    made = Text(safe(str(text)), style=style, no_wrap=True, overflow="ellipsis")
    return made if below is None else made.append("\n" + safe(below), style="dim")


def add_row(to: Table, *cells: object) -> None:
    """A row of plain text."""
    to.add_row(*(cell if isinstance(cell, Text) else plain(cell) for cell in cells))


def span(length: timedelta) -> str:
    """A length of time in its largest unit or two: `12s`, `5m`, `3h20m`, `9d`."""
    seconds = max(0, int(length.total_seconds()))
    for index, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            minor = f"{rest // 60}m" if unit == "h" and rest >= 60 else ""
            return f"{count}{unit}{minor}" if index < len(_UNITS) else ""
    return "0s"


def age(moment: datetime, now: datetime) -> str:
    """How long ago `moment` was."""
    return span(now - moment)


def percent(part: int, whole: int) -> str:
    """`12.3 %`, rounded down: 100 % is all of it."""
    return f"{int(1000 * part / whole) / 10:.1f} %" if whole else "-"


def bar(done: int, total: int, beside: str) -> Table:
    """A progress bar as wide as the terminal lets it be, with words beside it."""
    made = Table.grid(padding=(0, 1), expand=True)
    made.add_column(ratio=1)
    made.add_column(justify="right", no_wrap=True)
    made.add_row(ProgressBar(total=max(1, total), completed=done), plain(beside))
    return made


class Meter(Protocol):
    """Progress of long work."""

    def at(self, done: int) -> None: ...


@contextmanager
def meter(what: str, total: int | None) -> Iterator[Meter]:
    """A progress bar on a terminal; elsewhere a plain line every two seconds. Both on stderr."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _Lines(what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"))
    with Progress(*columns, TimeElapsedColumn(), console=screen, transient=True) as progress:
        yield _Bar(progress, progress.add_task(what, total=total, speed=""))


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task, self._began = progress, task, time.monotonic()

    def at(self, done: int) -> None:
        speed = f"{done / max(0.001, time.monotonic() - self._began):,.0f}/s"
        self._progress.update(self._task, completed=done, speed=speed)


class _Lines:
    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total, self._next = what, total, time.monotonic() + _LINE_EVERY_S

    def at(self, done: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_EVERY_S
            say(f"{self._what}: {done}" + (f" of {self._total}" if self._total else ""))
