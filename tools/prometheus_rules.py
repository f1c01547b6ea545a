#!/usr/bin/env python3
"""The rules of k8s/monitoring/rules as a plain rule file, for promtool and a Prometheus without the operator.

`python tools/prometheus_rules.py > rules.yaml`
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).resolve().parents[1] / "k8s/monitoring/rules"

Group = dict[str, Any]
Rule = dict[str, Any]


def groups(folder: Path = RULES) -> list[Group]:
    """What every PrometheusRule there holds."""
    found = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]
    return [group for thing in found for group in thing["spec"]["groups"]]


def rules(folder: Path = RULES) -> list[Rule]:
    """All of them: an `alert` or a `record` each."""
    return [rule for group in groups(folder) for rule in group["rules"]]


def rule_file(found: list[Group]) -> str:
    """The text of a rule file."""
    text: str = yaml.safe_dump({"groups": found}, sort_keys=False, allow_unicode=True, width=120)
    return text


if __name__ == "__main__":
    sys.stdout.write(rule_file(groups()))
