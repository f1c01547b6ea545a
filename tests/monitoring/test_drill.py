"""Drills: each alert fires in a real Prometheus when what it names breaks, and stops after the repair."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from prometheus_rules import rules
from stack import wait_until

from .drills import DRILLS, RELATED
from .platform import Platform

_DEADLINE_S = 90.0
pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


def test_there_is_a_drill_for_every_alert() -> None:
    assert DRILLS.keys() == {rule["alert"] for rule in rules() if "alert" in rule}


@pytest.mark.parametrize("alert", DRILLS)
def test_an_alert_fires_until_the_repair(alert: str, platform: Platform) -> None:
    prometheus = platform.prometheus
    # A retry of an earlier drill would become a dead letter in the middle of this one.
    platform.forget_retries()
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: not prometheus.firing(), _DEADLINE_S)
    assert prometheus.firing() == set(), "an earlier drill is not over"
    drill = DRILLS[alert](platform)
    next(drill)
    try:
        [fired, *_] = wait_until(lambda: [one for one in prometheus.alerts() if is_firing(one, alert)], _DEADLINE_S)
        assert prometheus.firing() <= {alert} | RELATED.get(alert, set())
        assert_texts_are_complete(fired)
    finally:
        next(drill, None)
    wait_until(lambda: alert not in prometheus.firing(), _DEADLINE_S)


def is_firing(alert: dict[str, Any], name: str) -> bool:
    return bool(alert["state"] == "firing" and alert["labels"]["alertname"] == name)


def assert_texts_are_complete(alert: dict[str, Any]) -> None:
    """Check that the texts of an alert have a value for every placeholder."""
    for text in (alert["annotations"]["summary"], alert["annotations"]["description"]):
        assert "no value" not in text, text
        assert "<error" not in text, text
