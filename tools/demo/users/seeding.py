"""Users made and loaded by the seed tool."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stack import PostgresServer, StackError
from stack.jobs import isolated_environment
from stack.process import deferred_signals
from stack.servers import binary

_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Seeded:
    """Number of seeded users, and how many of them are invalid."""

    rows: int
    invalid: int


def seed(postgres: PostgresServer, rows: int, folder: Path) -> Seeded:
    """Fill the database from CSV files in `folder`. The tool shows its own progress. Raises `StackError`."""
    code = _run([binary("users-batch-seed"), "all", "--rows", str(rows), "--out", str(folder)], postgres)
    if code:
        raise StackError(f"users-batch-seed exited with {code}; see its message above")
    manifest = json.loads((folder / "manifest.json").read_text())
    return Seeded(manifest["rows"], manifest["invalid"])


def _run(command: Sequence[str], postgres: PostgresServer) -> int:
    # In a session of its own: Ctrl-C reaches it once, from here, and its end is awaited.
    tool = None
    try:
        with deferred_signals():
            tool = subprocess.Popen(command, env=isolated_environment(postgres.environment()), start_new_session=True)
        return tool.wait()
    except BaseException:
        if tool is not None:
            tool.send_signal(signal.SIGINT)
            try:
                tool.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                tool.kill()
                tool.wait()
        raise
