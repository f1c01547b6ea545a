"""Users made and loaded by the job's own seed tool."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stack import PostgresServer, StackError
from stack.jobs import led_to
from stack.process import deferred_signals
from stack.servers import binary

_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was loaded; `invalid` of the `rows` are."""

    rows: int
    invalid: int


def seed(postgres: PostgresServer, rows: int, folder: Path) -> Seeded:
    """Fill the database by way of CSV files in `folder`; the tool shows its progress itself. Raises `StackError`."""
    tool = binary("users-batch-seed")
    _run([tool, "all", "--rows", str(rows), "--out", str(folder)], postgres)
    manifest = json.loads((folder / "manifest.json").read_text())
    return Seeded(manifest["rows"], manifest["invalid"])


def _run(command: Sequence[str], postgres: PostgresServer) -> None:
    # In a session of its own, so that Ctrl-C comes to it once, from here, and is waited for.
    tool = None
    try:
        with deferred_signals():
            tool = subprocess.Popen(command, env=led_to(postgres.environment()), start_new_session=True)
        code = tool.wait()
    except BaseException:
        if tool is not None:
            _stop(tool)
        raise
    if code:
        raise StackError(f"users-batch-seed exited with {code}; what it said stands above")


def _stop(tool: subprocess.Popen[bytes]) -> None:
    tool.send_signal(signal.SIGINT)
    try:
        tool.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        tool.kill()
        tool.wait()
