"""CPU time of a process and all that it started, from Linux's /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    cpu_s: float
    """User and system time, its own and that of the children it has waited for."""


def readable() -> bool:
    """Whether this system has what `of_tree` reads."""
    return (_PROC / "self" / "stat").exists()


def of_tree(root: int) -> float:
    """Seconds of user and system time of process `root`, its living descendants, and those that are gone."""
    found = {int(path.name): process for path in _PROC.glob("[0-9]*") if (process := _read(path / "stat"))}
    return sum(process.cpu_s for pid, process in found.items() if root in _line(pid, found))


def _line(pid: int, found: dict[int, _Process]) -> list[int]:
    """`pid` and its ancestors."""
    line = [pid]
    while (process := found.get(line[-1])) is not None:
        line.append(process.parent)
    return line


def _read(stat: Path) -> _Process | None:
    try:
        text = stat.read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return None
    # The second field, the name in brackets, may itself hold blanks and brackets.
    _state, parent, *fields = text.rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[9:13])
    return _Process(int(parent), ticks / os.sysconf("SC_CLK_TCK"))
