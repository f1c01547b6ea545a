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

# The data source in tools/dash/grafana has the same interval.
INTERVAL_S = 5
# In a cluster this label tells environments apart.
NAMESPACE = "local"


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`, or of PROMETHEUS or PROMTOOL. Raises `StackError`."""
    variable = name.upper()
    if found := shutil.which(os.environ.get(variable) or name):
        return found
    raise StackError(f"{name} is not installed: apt-get install prometheus, or set {variable}=/path/to/{name}")


class Prometheus(Process):
    """Prometheus that scrapes as the PodMonitor does and evaluates `rules`. Its files are in `folder`."""

    def __init__(self, folder: Path, rules: list[Group], *, port: int = 0, interval_s: int = INTERVAL_S) -> None:
        super().__init__("Prometheus", folder / "prometheus.log")
        self.port = port or free_port()
        self._folder = folder
        self._rules = rules
        self._interval_s = interval_s

    @property
    def url(self) -> str:
        """Address of its API and its pages."""
        return f"http://{HOST}:{self.port}"

    def scrape(self, targets: Mapping[str, str]) -> None:
        """Replace the targets: base URLs by job name."""
        groups = [
            {"targets": [urlsplit(url).netloc], "labels": {"job": name, "namespace": NAMESPACE}}
            for name, url in targets.items()
        ]
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / "targets.json.new"
        new.write_text(json.dumps(groups))
        new.replace(self._folder / "targets.json")

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
        """Build the configuration. It keeps the label `job` of the metrics: the exporter reports all jobs."""
        seconds = f"{self._interval_s}s"
        targets = {"files": [str(self._folder / "targets.json")], "refresh_interval": "1s"}
        return {
            "global": {"scrape_interval": seconds, "scrape_timeout": seconds, "evaluation_interval": seconds},
            "rule_files": [str(self._folder / "rules.yaml")],
            "scrape_configs": [{"job_name": "keda-jobs", "honor_labels": True, "file_sd_configs": [targets]}],
        }
