"""CPU time of a process and its descendants, from Linux's /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    cpu_s: float
    """User and system time of the process and of the children it has waited for."""


def readable() -> bool:
    """Return whether this system has /proc."""
    return (_PROC / "self" / "stat").exists()


def of_tree(root: int) -> float:
    """Return the seconds of user and system time of process `root` and its descendants, alive or gone."""
    found = {int(path.name): process for path in _PROC.glob("[0-9]*") if (process := _read(path / "stat"))}
    return sum(process.cpu_s for pid, process in found.items() if root in _ancestry(pid, found))


def _ancestry(pid: int, found: dict[int, _Process]) -> list[int]:
    """Return `pid` and its ancestors."""
    ancestry = [pid]
    while (process := found.get(ancestry[-1])) is not None:
        ancestry.append(process.parent)
    return ancestry


def _read(stat: Path) -> _Process | None:
    try:
        text = stat.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the name in brackets. It may contain blanks and brackets.
    _state, parent, *fields = text.rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[9:13])
    return _Process(int(parent), ticks / os.sysconf("SC_CLK_TCK"))
