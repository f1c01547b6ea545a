"""Prometheus as a child process, with the rules of k8s/monitoring."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from prometheus_rules import Group, rule_file
from stack.ports import HOST, free_port
from stack.process import Process, StackError
from stack.servers import http_status

# As the data source of tools/dash/grafana has it.
INTERVAL_S = 5


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`, or what PROMETHEUS or PROMTOOL names. Raises `StackError`."""
    variable = name.upper()
    if found := shutil.which(os.environ.get(variable) or name):
        return found
    raise StackError(f"{name} is not here: apt-get install prometheus, or {variable}=/path/of/{name}")


class Prometheus(Process):
    """Scrapes as the PodMonitor does, and evaluates `rules`; everything under `folder`."""

    def __init__(self, folder: Path, rules: list[Group], *, port: int = 0, interval_s: int = INTERVAL_S) -> None:
        super().__init__("Prometheus", folder / "prometheus.log")
        self.port = port or free_port()
        self._folder = folder
        self._rules = rules
        self._interval_s = interval_s

    @property
    def url(self) -> str:
        """Of its API and its own pages."""
        return f"http://{HOST}:{self.port}"

    def scrape(self, targets: Mapping[str, str]) -> None:
        """Scrape these from now on, base URLs by the name of their job, and no others."""
        found = [{"targets": [urlsplit(url).netloc], "labels": {"job": name}} for name, url in targets.items()]
        self._folder.mkdir(parents=True, exist_ok=True)
        written = self._folder / "targets.json.new"
        written.write_text(json.dumps(found))
        written.replace(self._folder / "targets.json")

    def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "rules.yaml").write_text(rule_file(self._rules))
        (self._folder / "prometheus.yaml").write_text(yaml.safe_dump(self._config()))

    def command(self) -> list[str]:
        return [
            program("prometheus"),
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
        targets = {"files": [str(self._folder / "targets.json")], "refresh_interval": "1s"}
        return {
            "global": {"scrape_interval": seconds, "scrape_timeout": seconds, "evaluation_interval": seconds},
            "rule_files": [str(self._folder / "rules.yaml")],
            "scrape_configs": [{"job_name": "keda-jobs", "honor_labels": True, "file_sd_configs": [targets]}],
        }
