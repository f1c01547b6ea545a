"""CPU time and memory of a process and its descendants, from Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path

from stack import StackError

PROC = Path("/proc")


def require_proc(benchmark: str) -> None:
    """Raise `StackError` on a system without /proc."""
    if not (PROC / "self" / "stat").exists():
        raise StackError(f"{benchmark}: CPU times need Linux's /proc; run --only throughput instead")


def cpu_s(root: int | None) -> float:
    """Return the user and system time of process `root` and its descendants, alive or gone."""
    # The second field is the name in brackets. It may contain blanks and brackets.
    stats = [_read(pid, "stat").rpartition(")")[2].split() for pid in _tree(root)]
    # Of the process itself, and of the children that it has waited for.
    ticks = sum(int(field) for fields in stats for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(root: int | None) -> int:
    """Return the memory of process `root` and its descendants, as PSS in bytes."""
    lines = [line for pid in _tree(root) for line in _read(pid, "smaps_rollup").splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _tree(root: int | None) -> list[int]:
    if root is None:
        return []
    tasks = [path.name for path in (PROC / str(root) / "task").glob("*")]
    children = [int(child) for task in tasks for child in _read(root, f"task/{task}/children").split()]
    return [root, *(pid for child in children for pid in _tree(child))]


def _read(pid: int, name: str) -> str:
    """Return a file of a process, empty when the process has ended."""
    try:
        return (PROC / str(pid) / name).read_text()
    except OSError:
        return ""
