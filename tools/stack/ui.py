"""`keda-jobs ui` as a local process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from stack.jobs import isolated_environment
from stack.ports import HOST, check_port_free, free_port
from stack.process import Process
from stack.servers import http_status


class UiProcess(Process):
    """Page for operators, about the servers that `environment` names."""

    def __init__(self, environment: Mapping[str, str], log: Path, port: int = 0, *options: str) -> None:
        super().__init__("ui", log)
        self.port = port or free_port()
        self._environment = environment
        self._options = options

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        check_port_free(self.name, self.port, "--ui-port")

    def command(self) -> list[str]:
        return [sys.executable, "-m", "keda_jobs.cli", "ui", f"--port={self.port}", *self._options]

    def process_environment(self) -> dict[str, str]:
        return isolated_environment(self._environment)

    def answers(self) -> bool:
        return http_status(f"{self.url}/static/icon.svg") == 200
