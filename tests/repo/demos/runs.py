"""Runs of the demo in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from stack.jobs import ROOT


def start_demo(*arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Start `python -m demo`."""
    return _start([sys.executable, "-m", "demo", *map(str, arguments)], variables)


def run_demo(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m demo` to its end."""
    return _finish(start_demo(*arguments, **variables))


def run_make(target: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `make` with `target` to its end."""
    return _finish(_start(["make", "--no-print-directory", target, *arguments], variables))


def _start(command: list[str], variables: dict[str, str]) -> subprocess.Popen[str]:
    # An exported width would cut the tables that tests read.
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": str(ROOT / "tools"), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(demo: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    with demo:
        try:
            stdout, stderr = demo.communicate(timeout=110)
        except BaseException:
            demo.kill()
            raise
    return subprocess.CompletedProcess(demo.args, demo.returncode, stdout, stderr)


def processes_of(folder: Path) -> set[int]:
    """Return the ids of the processes whose output goes to a log in `folder`: servers, jobs and their children."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "fd" / "1").readlink().is_relative_to(folder):
                found.add(int(process.name))
    return found
