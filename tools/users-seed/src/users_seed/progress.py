"""Progress of a long step, with rate and time left: a bar on a terminal, a line every two seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from keda_jobs.cli.terminal import console, format_duration, print_err

_LINE_EVERY_S = 2.0


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of finished rows, first those of earlier runs, and shows it on stderr."""
    screen = console(stderr=True)
    pace = _Pace(total)
    if not screen.is_terminal:
        yield _Lines(what, pace)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(what, total=total, pace="")

        def show(done: int) -> None:
            bar.update(task, completed=done, pace=pace.at(done))

        yield show


class _Pace:
    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()
        self._before: int | None = None

    def at(self, done: int) -> str:
        if self._before is None:
            self._before = done
        speed = (done - self._before) / max(0.001, time.monotonic() - self._began)
        left = f", {format_duration(timedelta(seconds=(self._total - done) / speed))} left" if speed else ""
        return f"{done:,} of {self._total:,} rows, {speed:,.0f}/s{left}"


class _Lines:
    def __init__(self, what: str, pace: _Pace) -> None:
        self._what, self._pace, self._next = what, pace, time.monotonic() + _LINE_EVERY_S

    def __call__(self, done: int) -> None:
        line = self._pace.at(done)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_EVERY_S
            print_err(f"{self._what}: {line}")
