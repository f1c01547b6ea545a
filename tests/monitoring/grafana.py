"""Queries of dashboards, sent to Prometheus as Grafana does, with the variables filled in."""

from __future__ import annotations

import json
import math
import re
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dash.prometheus import NAMESPACE
from dashboards.files import FOLDER

# In a range as short as a test's, `$__rate_interval` is four scrape intervals.
_INTERVALS = 4


@dataclass(frozen=True, slots=True)
class Target:
    """Query of a panel."""

    dashboard: str
    panel: str
    expr: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel}: {self.expr}"


@dataclass(frozen=True, slots=True)
class View:
    """Time range of a dashboard, in Unix times."""

    prometheus: str
    interval_s: int
    since: float
    until: float

    def values(self, target: Target, jobs: Sequence[str]) -> list[float]:
        """Return the numbers that the panel draws for `jobs`."""
        expr = self._fill_in(target.expr, jobs)
        if target.instant:
            return query(self.prometheus, expr, self.until)
        period = {"start": self.since, "end": self.until, "step": self.interval_s}
        result = _get(self.prometheus, "query_range", query=expr, **period)["result"]
        return _numbers(point for series in result for point in series["values"])

    def _fill_in(self, expr: str, jobs: Sequence[str]) -> str:
        selected = jobs[0] if len(jobs) == 1 else f"({'|'.join(jobs)})"
        variables = {
            "namespace": NAMESPACE,
            "job": selected,
            "__rate_interval": f"{_INTERVALS * self.interval_s}s",
            "__range": f"{math.ceil(self.until - self.since)}s",
        }
        return re.sub(r"\$(\w+)", lambda match: variables[match[1]], expr)


def targets() -> list[Target]:
    """Return every query of every panel."""
    return [
        Target(name, panel["title"], target["expr"], target["instant"])
        for name, dashboard in _dashboards().items()
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]


def jobs_of(prometheus: str, dashboard: str) -> list[str]:
    """Return the jobs that the variable `job` offers."""
    variables = {variable["name"]: variable for variable in _dashboards()[dashboard]["templating"]["list"]}
    query = re.fullmatch(r"label_values\((.+), job\)", variables["job"]["query"])
    assert query
    series = query[1].replace("$namespace", NAMESPACE)
    jobs: list[str] = _get(prometheus, "label/job/values", **{"match[]": series})
    return jobs


def query(prometheus: str, expr: str, time: float) -> list[float]:
    """Return the value of each series of an expression at one time."""
    return _numbers(series["value"] for series in _get(prometheus, "query", query=expr, time=time)["result"])


def _numbers(points: Iterable[tuple[float, str]]) -> list[float]:
    return [float(text) for _, text in points if not math.isnan(float(text))]


def _dashboards() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def _get(prometheus: str, path: str, **parameters: object) -> Any:
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.loads(response.read())["data"]
