"""Processes of this machine, as `ps` lists them."""

from __future__ import annotations

import os
import subprocess
import sys

from stack.jobs import ROOT


def family(pid: int) -> set[int]:
    """Return the running ones of a process and its children."""
    listed = subprocess.run(["ps", "-axo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in listed.splitlines()]
    return {int(child) for child, parent, state in lines if pid in (int(child), int(parent)) and state[0] != "Z"}


def running(pids: set[int]) -> set[int]:
    """Return the running ones of `pids`."""
    return {pid for pid in pids if pid in family(pid)}


def start_python(*arguments: str) -> subprocess.Popen[str]:
    """Start another Python process that can import the local stack."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
