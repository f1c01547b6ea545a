"""A real Prometheus, with the rules at another pace and asked what it knows."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from dash import prometheus as dash
from prometheus_rules import Group, Rule, groups

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+)([smhd])")
_RANGE = re.compile(r"(?<=\[)\d+[smhd](?=\])")
# An age to compare with. 60 s without a fetch is left: a fetch takes up to 5 s, whatever the pace of the rules.
_AGE = re.compile(r"(?<=> )\d{3,}$")


class Prometheus(dash.Prometheus):
    """Scrapes and evaluates once a second; the rules' times are those of the cluster divided by `faster`."""

    def __init__(self, folder: Path, faster: int) -> None:
        super().__init__(folder, hurried(groups(), faster), interval_s=1)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that it has now, with their values."""
        return list(self._ask("query", query=expression)["result"])

    def alerts(self) -> list[dict[str, Any]]:
        """Those that are pending or firing, with labels and annotations."""
        return list(self._ask("alerts")["alerts"])

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self.alerts() if alert["state"] == "firing"}

    def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{urlencode(parameters)}", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)["data"]
        return found


def hurried(found: list[Group], faster: int) -> list[Group]:
    """The same rules with every `for`, range and age divided by `faster`."""
    return [{**group, "rules": [_hurried(rule, faster) for rule in group["rules"]]} for group in found]


def _hurried(rule: Rule, faster: int) -> Rule:
    def divided(found: re.Match[str]) -> str:
        return _divided(found[0], faster)

    expression = _AGE.sub(lambda found: str(int(found[0]) // faster), _RANGE.sub(divided, rule["expr"]))
    return {**rule, "expr": expression} | ({"for": _divided(rule["for"], faster)} if "for" in rule else {})


def _divided(duration: str, by: int) -> str:
    found = _DURATION.fullmatch(duration)
    assert found, duration
    return f"{max(1, int(found[1]) * _UNITS_S[found[2]] // by)}s"
