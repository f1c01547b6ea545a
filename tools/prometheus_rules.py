#!/usr/bin/env python3
"""Command that writes the rules of k8s/monitoring/rules as a plain rule file: `python tools/prometheus_rules.py`.

The file is for promtool and for a Prometheus without the operator.
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
    """Read the groups of every PrometheusRule."""
    manifests = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]
    return [group for manifest in manifests for group in manifest["spec"]["groups"]]


def rules(folder: Path = RULES) -> list[Rule]:
    """Read all rules. Each has an `alert` or a `record`."""
    return [rule for group in groups(folder) for rule in group["rules"]]


def rule_file(content: list[Group]) -> str:
    """Format groups as a rule file."""
    text: str = yaml.safe_dump({"groups": content}, sort_keys=False, allow_unicode=True, width=120)
    return text


if __name__ == "__main__":
    sys.stdout.write(rule_file(groups()))
