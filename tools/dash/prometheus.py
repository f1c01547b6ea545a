"""Prometheus as a child process, with the rules of k8s/monitoring."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from prometheus_rules import groups, rule_file
from stack.process import Process, StackError
from stack.servers import HOST, free_port, http_status

# As the data source of tools/dash/grafana has it.
INTERVAL_S = 5


def program() -> str:
    """The path of Prometheus, or what PROMETHEUS names. Raises `StackError`."""
    if found := shutil.which(os.environ.get("PROMETHEUS") or "prometheus"):
        return found
    raise StackError("prometheus is not here: apt-get install prometheus, or PROMETHEUS=/path/of/prometheus")


class Prometheus(Process):
    """Scrapes `targets`, base URLs by the name of their job, as the PodMonitor does; everything under `folder`."""

    def __init__(self, folder: Path, targets: Mapping[str, str], port: int = 0, interval_s: int = INTERVAL_S) -> None:
        super().__init__("Prometheus", folder / "prometheus.log")
        self.port = port or free_port()
        self._folder = folder
        self._targets = targets
        self._interval_s = interval_s

    @property
    def url(self) -> str:
        """Of its API and its own pages."""
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "rules.yaml").write_text(rule_file(groups()))
        (self._folder / "prometheus.yaml").write_text(yaml.safe_dump(self._config()))

    def command(self) -> list[str]:
        return [
            program(),
            f"--config.file={self._folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ]

    def answers(self) -> bool:
        return http_status(f"{self.url}/-/ready") == 200

    def _config(self) -> dict[str, object]:
        """`job` is the metric's own label: the exporter speaks of all jobs."""
        seconds = f"{self._interval_s}s"
        targets = [{"targets": [urlsplit(url).netloc], "labels": {"job": name}} for name, url in self._targets.items()]
        return {
            "global": {"scrape_interval": seconds, "scrape_timeout": seconds, "evaluation_interval": seconds},
            "rule_files": [str(self._folder / "rules.yaml")],
            "scrape_configs": [{"job_name": "keda-jobs", "honor_labels": True, "static_configs": targets}],
        }
