"""Terminal output of both scenarios: plain lines, and progress while the work runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from keda_jobs.cli.terminal import cell, console, print_out

_BAR_WIDTH = 40
_LINE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a progress display."""

    name: str
    count: int
    total: int
    style: str
    note: str = ""


class Showable(Protocol):
    """Progress of a scenario: in one line without a terminal, in bars on one."""

    @property
    def line(self) -> str: ...

    @property
    def bars(self) -> Sequence[Bar]: ...


def print_line(line: str = "") -> None:
    """Print one line on stdout."""
    print(line, flush=True)


def print_tables(*tables: Table) -> None:
    """Print the tables that have rows, each after an empty line."""
    for table in tables:
        if table.row_count:
            print_line()
            print_out(table)


def print_places(places: Mapping[str, Path]) -> None:
    """Print a line for each thing that the demo leaves behind."""
    here = Path.cwd()
    for name, path in places.items():
        print_line(f"  {name:<15}{path.relative_to(here) if path.is_relative_to(here) else path}")


@contextmanager
def display() -> Iterator[Callable[[Showable], None]]:
    """Yield a function to call often: it updates bars on a terminal and prints a line a second elsewhere."""
    screen = console()
    if screen.is_terminal:
        with Live(console=screen, refresh_per_second=10) as live:
            yield lambda progress: live.update(_grid(progress.bars))
        return
    lines = _Lines()
    yield lines.show
    lines.print_last()


def _grid(bars: Sequence[Bar]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for bar in bars:
        drawn = ProgressBar(
            max(bar.total, 1), bar.count, _BAR_WIDTH, complete_style=bar.style, finished_style=bar.style
        )
        grid.add_row(bar.name, drawn, Text(f"{bar.count:,}", justify="right"), cell(bar.note))
    return grid


class _Lines:
    def __init__(self) -> None:
        self._began = self._next = time.monotonic()
        self._line = self._printed = ""

    def show(self, progress: Showable) -> None:
        self._line = progress.line
        if time.monotonic() >= self._next:
            self.print_last()

    def print_last(self) -> None:
        now = time.monotonic()
        if self._line != self._printed:
            self._printed, self._next = self._line, now + _LINE_EVERY_S
            print_line(f"{now - self._began:5.1f} s  {self._line}")
