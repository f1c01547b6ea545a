"""Runs of the demo in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from stack.jobs import ROOT


def start_demo(*arguments: object) -> subprocess.Popen[str]:
    """Start `python -m demo`."""
    pipe = subprocess.PIPE
    return subprocess.Popen(_demo(arguments), cwd=ROOT, env=_environment({}), stdout=pipe, stderr=pipe, text=True)


def run_demo(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m demo` to its end."""
    return _run(_demo(arguments), variables)


def run_make(target: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `make` with `target` to its end."""
    return _run(["make", "--no-print-directory", target, *arguments], variables)


def _demo(arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "demo", *map(str, arguments)]


def _run(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = _environment(variables)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def _environment(variables: dict[str, str]) -> dict[str, str]:
    # An exported width would cut the tables that tests read.
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return {**inherited, "PYTHONPATH": str(ROOT / "tools"), **variables}


def processes_of(folder: Path) -> set[int]:
    """Return the ids of the processes whose output goes to a log in `folder`: servers, jobs and their children."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "fd" / "1").readlink().is_relative_to(folder):
                found.add(int(process.name))
    return found
