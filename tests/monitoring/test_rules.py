"""Rules checked by promtool: each alert fires for what it names, and not for a near miss."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from prometheus_rules import Group, groups, rule_file, rules

from .cases import ALERTS, DEPLOY, IDLE, RECORDS, AlertCase, Labels, RecordCase, Series
from .programs import program

NAMESPACES = ("prod", "staging")
ALERT_RULES = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = [rule["record"] for rule in rules() if "record" in rule]


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(rule_file(groups()))
    promtool(tmp_path, "check", "rules", "--lint-fatal", "rules.yaml")


@pytest.mark.parametrize("alert", ALERT_RULES)
def test_every_alert_has_a_case_that_fires_and_a_near_miss(alert: str) -> None:
    assert {bool(case.fires) for case in ALERTS[alert]} == {True, False}


@pytest.mark.parametrize("record", RECORDED)
def test_every_recording_rule_has_a_case(record: str) -> None:
    assert record in {case.record for case in RECORDS}


@pytest.mark.parametrize(("alert", "case"), [(alert, case) for alert in ALERTS for case in ALERTS[alert]], ids=str)
def test_an_alert_fires_only_when_it_should(alert: str, case: AlertCase, tmp_path: Path) -> None:
    severity = ALERT_RULES[alert]["labels"]
    expected = [{"exp_labels": {**severity, **placed}} for labels in case.fires for placed in in_each_namespace(labels)]
    run_unit_test(
        tmp_path,
        case.series,
        alert_rule_test=[{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected} for minute in case.at],
    )


@pytest.mark.parametrize("case", RECORDS, ids=str)
def test_a_recorded_series_has_these_values(case: RecordCase, tmp_path: Path) -> None:
    samples = [
        {"labels": f"{case.record}{labels}", "value": value}
        for without, value in case.values.items()
        for labels in series_in_each_namespace(f"{{{without}}}")
    ]
    run_unit_test(
        tmp_path,
        case.series,
        promql_expr_test=[{"expr": case.record, "eval_time": f"{case.at}m", "exp_samples": samples}],
    )


@pytest.mark.parametrize("series", [IDLE, DEPLOY], ids=["a new and idle installation", "a deploy"])
def test_no_alert_fires_for(series: Series, tmp_path: Path) -> None:
    quiet = {"expr": 'ALERTS{alertstate="firing"}', "exp_samples": []}
    run_unit_test(tmp_path, series, promql_expr_test=[{**quiet, "eval_time": f"{minute}m"} for minute in range(1, 120)])


def run_unit_test(folder: Path, series: Series, **tests: list[dict[str, Any]]) -> None:
    """Run promtool's unit tests on these series, with rules without texts."""
    (folder / "rules.yaml").write_text(rule_file([without_texts(group) for group in groups()]))
    table = [
        {"series": placed, "values": values}
        for name, values in series.items()
        for placed in series_in_each_namespace(name)
    ]
    unit = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "group_eval_order": sorted((group["name"] for group in groups()), key=lambda name: "recording" not in name),
        "tests": [{"interval": "1m", "input_series": table, **tests}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(unit))
    promtool(folder, "test", "rules", "test.yaml")


def series_in_each_namespace(name: str) -> list[str]:
    """Return the name of a series in each of the environments that one Prometheus watches."""
    if "namespace=" in name:
        return [name]
    metric, _, labels = name.rstrip("}").partition("{")
    before = f"{labels}, " if labels else ""
    return [f'{metric}{{{before}namespace="{place}"}}' for place in NAMESPACES]


def in_each_namespace(labels: Labels) -> list[Labels]:
    """Return the labels of an alert that fires in each environment, or only where they say. Empty is nowhere."""
    if "namespace" in labels:
        return [{name: value for name, value in labels.items() if value}]
    return [{**labels, "namespace": place} for place in NAMESPACES]


def without_texts(group: Group) -> Group:
    """Remove the annotations: promtool would compare every value in them."""
    rules = [{key: value for key, value in rule.items() if key != "annotations"} for rule in group["rules"]]
    return {**group, "rules": rules}


def promtool(folder: Path, *arguments: str) -> None:
    """Run promtool in `folder`, and fail with its output."""
    ended = subprocess.run([program("promtool"), *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
