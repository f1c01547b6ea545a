"""Progress of a long step, with rate and time left: a bar on a terminal, a line every two seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import BarColumn, Progress, Task, TaskProgressColumn, TextColumn

from keda_jobs.cli.terminal import console, format_duration, print_err

_LINE_EVERY_S = 2.0


@contextmanager
def progress(step: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows the number of finished rows on stderr. Its first call has those of earlier runs."""
    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[pace]}"))
    # Without a terminal nothing is drawn, but the rate is still measured.
    bar = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
    bar.add_task(step, total=total, pace="")
    [task] = bar.tasks
    next_line_at = time.monotonic() + _LINE_EVERY_S

    def show(done: int) -> None:
        nonlocal next_line_at
        bar.update(task.id, completed=done)
        bar.update(task.id, pace=_format_pace(task))
        if bar.disable and time.monotonic() >= next_line_at:
            next_line_at = time.monotonic() + _LINE_EVERY_S
            print_err(f"{step}: {task.fields['pace']}")

    with bar:
        yield show


def _format_pace(task: Task) -> str:
    left = f", {format_duration(timedelta(seconds=task.time_remaining))} left" if task.time_remaining else ""
    return f"{task.completed:,.0f} of {task.total or 0:,.0f} rows, {task.speed or 0:,.0f}/s{left}"
