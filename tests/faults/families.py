"""Processes with their children: how to list them, freeze them and let them go on."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from stack import Process


def family(pid: int) -> list[int]:
    """List a process and all that descend from it, where the system has /proc, without those that have ended."""
    found = [pid]
    with contextlib.suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                found += family(int(child))
    return found


def freeze(process: Process) -> None:
    """Send SIGSTOP to a process and its children, such as PostgreSQL's."""
    _signal_family(process, signal.SIGSTOP)


def thaw(process: Process) -> None:
    """Wake a process and its children after `freeze`."""
    _signal_family(process, signal.SIGCONT)


def _signal_family(process: Process, number: signal.Signals) -> None:
    for pid in family(process.pid) if process.pid else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
