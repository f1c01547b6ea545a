"""Plain lines on stdout."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

_LINE_EVERY_S = 1.0


def say(line: str = "") -> None:
    """One line on stdout."""
    print(line, flush=True)


def say_places(places: Mapping[str, Path]) -> None:
    """A line for each thing that the demo leaves, and where."""
    here = Path.cwd()
    for name, path in places.items():
        say(f"  {name:<15}{path.relative_to(here) if path.is_relative_to(here) else path}")


class Lines:
    """Progress for where no terminal is: a line a second, if something has changed."""

    def __init__(self) -> None:
        self._began = self._next = time.monotonic()
        self._shown: object = None

    def show(self, counts: object, *, last: bool = False) -> None:
        """Say `counts`, unless the last line is too young or says the same."""
        now = time.monotonic()
        if counts != self._shown and (last or now >= self._next):
            self._shown, self._next = counts, now + _LINE_EVERY_S
            say(f"{now - self._began:5.1f} s  {counts}")
