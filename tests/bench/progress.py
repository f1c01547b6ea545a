"""Progress on stderr: a line that changes on a terminal, a line for each step elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from keda_jobs.cli.terminal import console, print_err


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yield a function to call at the start of each step."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield print_err
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda step: bar.update(task, description=step)
