"""What Grafana asks of Prometheus for a dashboard: variables filled in, queries instant or over the time shown."""

from __future__ import annotations

import json
import math
import re
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.files import FOLDER

# `$__rate_interval` is four times as long as Prometheus' interval, in a time range as short as a test's.
_INTERVALS = 4


@dataclass(frozen=True, slots=True)
class Target:
    """One query of one panel."""

    dashboard: str
    panel: str
    expr: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel}: {self.expr}"


@dataclass(frozen=True, slots=True)
class View:
    """A dashboard as somebody looks at it: from when on and until when, as Unix times."""

    prometheus: str
    interval_s: int
    since: float
    until: float

    def values(self, target: Target, jobs: Sequence[str]) -> list[float]:
        """What there is to draw when `jobs` are chosen: the values of all series that are numbers."""
        expr = self._filled(target.expr, jobs)
        if target.instant:
            return query(self.prometheus, expr, self.until)
        period = {"start": self.since, "end": self.until, "step": self.interval_s}
        found = _get(self.prometheus, "query_range", query=expr, **period)["result"]
        return _numbers(point for series in found for point in series["values"])

    def _filled(self, expr: str, jobs: Sequence[str]) -> str:
        chosen = jobs[0] if len(jobs) == 1 else f"({'|'.join(jobs)})"
        variables = {
            "job": chosen,
            "__rate_interval": f"{_INTERVALS * self.interval_s}s",
            "__range": f"{math.ceil(self.until - self.since)}s",
        }
        return re.sub(r"\$(\w+)", lambda found: variables[found[1]], expr)


def targets() -> list[Target]:
    """Every query of every panel."""
    return [
        Target(name, panel["title"], target["expr"], target["instant"])
        for name, dashboard in _dashboards().items()
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]


def jobs_of(prometheus: str, dashboard: str) -> list[str]:
    """The jobs that the variable `job` offers."""
    variables = {variable["name"]: variable for variable in _dashboards()[dashboard]["templating"]["list"]}
    asked = re.fullmatch(r"label_values\((.+), job\)", variables["job"]["query"])
    assert asked
    found: list[str] = _get(prometheus, "label/job/values", **{"match[]": asked[1]})
    return found


def query(prometheus: str, expr: str, time: float) -> list[float]:
    """The values of an expression at one time, of all its series."""
    return _numbers(series["value"] for series in _get(prometheus, "query", query=expr, time=time)["result"])


def _numbers(points: Iterable[tuple[float, str]]) -> list[float]:
    return [float(text) for _, text in points if not math.isnan(float(text))]


def _dashboards() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def _get(prometheus: str, path: str, **parameters: object) -> Any:
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.loads(response.read())["data"]
