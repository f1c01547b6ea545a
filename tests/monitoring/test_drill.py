"""What an alert names is broken on a local platform: it fires in a real Prometheus, and ends with the mend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from prometheus_rules import rules
from stack import wait_until

from .drills import DRILLS, FOLLOWING
from .platform import Platform

_PATIENCE_S = 90.0
pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


def test_there_is_a_drill_for_every_alert() -> None:
    assert DRILLS.keys() == {rule["alert"] for rule in rules() if "alert" in rule}


@pytest.mark.parametrize("alert", DRILLS)
def test_what_breaks_is_named_by_its_alert_until_it_is_mended(alert: str, platform: Platform) -> None:
    prometheus = platform.prometheus
    wait_until(lambda: not prometheus.firing(), _PATIENCE_S)
    drill = DRILLS[alert](platform)
    next(drill)
    try:
        [fired, *_] = wait_until(lambda: [one for one in prometheus.alerts() if is_fired(one, alert)], _PATIENCE_S)
        assert prometheus.firing() <= {alert} | FOLLOWING.get(alert, set())
        assert_text_is_whole(fired)
    finally:
        next(drill, None)
    wait_until(lambda: alert not in prometheus.firing(), _PATIENCE_S)


def is_fired(alert: dict[str, Any], name: str) -> bool:
    return bool(alert["state"] == "firing" and alert["labels"]["alertname"] == name)


def assert_text_is_whole(alert: dict[str, Any]) -> None:
    """Its texts have a value for all that they name."""
    for text in (alert["annotations"]["summary"], alert["annotations"]["description"]):
        assert "no value" not in text, text
        assert "<error" not in text, text
