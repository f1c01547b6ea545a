"""Worker processes, and the control of their handlers."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stack import JobProcess, until

from .parcels import FOLDER


def get(url: str) -> tuple[int, str]:
    """Return status and text of the answer, or status 0 without one."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


class Worker(JobProcess):
    """One worker process and its log."""

    async def finish(self, deadline_s: float = 30.0) -> int | None:
        """Wait until it ends by itself, and return the exit code."""
        await until(lambda: not self.alive, deadline_s)
        return self.exit_code

    async def terminate(self, deadline_s: float = 30.0) -> int | None:
        """Send SIGTERM, wait, and return the exit code."""
        self.signal(signal.SIGTERM)
        return await self.finish(deadline_s)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Lines of its log."""
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def messages(self, level: str) -> list[str]:
        """Return its log messages of that level."""
        return [line["message"] for line in self.lines if line["level"] == level]

    @property
    def is_stopping(self) -> bool:
        """True once it has received a SIGTERM."""
        return get(f"{self.http_url}/readyz") == (503, "stopping\n")

    def has_logged(self, text: str) -> bool:
        return any(text in line["message"] for line in self.lines)


class Control:
    """Gate that waiting rows wait for, and record of the rows that were started."""

    def __init__(self, folder: Path) -> None:
        self._gate = folder / "gate"
        self._runs = folder / "runs"
        self._runs.touch()
        path = os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])
        self.environment = {"GATE": str(self._gate), "RUNS": str(self._runs), "PYTHONPATH": path}

    def open_gate(self) -> None:
        self._gate.touch()

    def close_gate(self) -> None:
        self._gate.unlink()

    @property
    def runs(self) -> list[str]:
        """Kinds of the started rows, one for each run of the handler."""
        return [line.partition(" ")[2] for line in self._runs.read_text().splitlines()]


Start = Callable[..., Worker]
