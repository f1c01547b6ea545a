"""Terminal output of both scenarios: plain lines, and progress while the work runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
def display() -> Iterator[Callable[[Sequence[Bar]], None]]:
    """Yield a function to call often: it updates bars on a terminal and prints a line a second elsewhere."""
    screen = console()
    if screen.is_terminal:
        with Live(console=screen, refresh_per_second=10) as live:
            yield lambda bars: live.update(_grid(bars))
    else:
        yield _line_printer()


def _grid(bars: Sequence[Bar]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for bar in bars:
        line = ProgressBar(max(1, bar.total), bar.count, _BAR_WIDTH, complete_style=bar.style, finished_style=bar.style)
        grid.add_row(bar.name, line, Text(f"{bar.count:,}", justify="right"), cell(bar.note))
    return grid


def _line_printer() -> Callable[[Sequence[Bar]], None]:
    began = next_line_at = time.monotonic()

    def show(bars: Sequence[Bar]) -> None:
        nonlocal next_line_at
        now = time.monotonic()
        if now >= next_line_at:
            next_line_at = now + _LINE_EVERY_S
            counts = (f"{bar.name} {bar.count:,}" + (f" ({bar.note})" if bar.note else "") for bar in bars)
            print_line(f"{now - began:5.1f} s  {', '.join(counts)}")

    return show
