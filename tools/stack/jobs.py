"""The event jobs as local processes, found by their `consumer.json`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from stack.process import Process
from stack.servers import HOST, free_port, http_status, refuse_busy_port

ROOT = Path(__file__).resolve().parents[2]


def event_jobs(root: Path = ROOT) -> list[str]:
    """The names of all event jobs: the folders of `jobs` that declare a consumer."""
    return sorted(path.parent.name for path in root.glob("jobs/*/consumer.json"))


class JobProcess(Process):
    """`python -m <package>` of one job.

    It sees `environment` and the variables of this process, without those that would lead it to other servers.
    """

    def __init__(self, job: str, environment: Mapping[str, str], log: Path, http_port: int = 0) -> None:
        super().__init__(job, log)
        self.http_port = http_port or free_port()
        self._environment = environment

    @property
    def http_url(self) -> str:
        """Base of `/healthz`, `/readyz` and `/metrics`."""
        return f"http://{HOST}:{self.http_port}"

    def prepare(self) -> None:
        refuse_busy_port(self.name, self.http_port, "--http-port")

    def command(self) -> list[str]:
        return [sys.executable, "-m", self.name.replace("-", "_")]

    def process_environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NATS_", "R2_"))}
        return {**inherited, **self._environment, "HTTP_PORT": str(self.http_port)}

    def last_line(self) -> str:
        line = super().last_line()
        try:
            return str(json.loads(line)["message"])
        except (ValueError, TypeError, KeyError):
            return line

    def answers(self) -> bool:
        return http_status(f"{self.http_url}/readyz") == 200
