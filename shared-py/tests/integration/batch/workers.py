"""Workers as processes, and how a test steers their handlers."""

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
    """Status and text of an answer; status 0 where there is none."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


class Worker(JobProcess):
    """One worker process, and what it said."""

    async def ended(self, deadline_s: float = 30.0) -> int | None:
        """The exit code, once it has ended by itself."""
        await until(lambda: not self.alive, deadline_s)
        return self.exit_code

    async def stopped(self, deadline_s: float = 30.0) -> int | None:
        """The exit code after a SIGTERM."""
        self.signal(signal.SIGTERM)
        return await self.ended(deadline_s)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def said(self, level: str) -> list[str]:
        """Its messages of that level."""
        return [line["message"] for line in self.lines if line["level"] == level]

    @property
    def is_stopping(self) -> bool:
        """Whether it has heard a SIGTERM."""
        return get(f"{self.http_url}/readyz") == (503, "stopping\n")

    def says(self, text: str) -> bool:
        return any(text in line["message"] for line in self.lines)


class Steering:
    """Opens the gate for rows that wait, and sees which rows were begun."""

    def __init__(self, folder: Path) -> None:
        self._gate = folder / "gate"
        self._runs = folder / "runs"
        self._runs.touch()
        path = os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])
        self.environment = {"GATE": str(self._gate), "RUNS": str(self._runs), "PYTHONPATH": path}

    def open_the_gate(self) -> None:
        self._gate.touch()

    def close_the_gate(self) -> None:
        self._gate.unlink()

    @property
    def runs(self) -> list[str]:
        """The kinds of the rows that were begun, one for each run of the handler."""
        return [line.partition(" ")[2] for line in self._runs.read_text().splitlines()]


Start = Callable[..., Worker]
