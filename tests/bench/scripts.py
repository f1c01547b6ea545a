"""The programs of this folder as child processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from stack import Process

HERE = Path(__file__).resolve().parent


class Script(Process):
    """`python *arguments`, which can import what lies in this folder; the log holds its last run only."""

    def __init__(
        self, name: str, arguments: list[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name, log)
        self._arguments = arguments
        self._environment = environment or {}

    def prepare(self) -> None:
        self.log.unlink(missing_ok=True)

    def command(self) -> list[str]:
        return [sys.executable, *self._arguments]

    def process_environment(self) -> Mapping[str, str]:
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        return {**os.environ, **self._environment, "PYTHONPATH": path}

    def answers(self) -> bool:
        return True
