"""Durations and rates: parsed and formatted."""

from __future__ import annotations

from datetime import timedelta

import pytest
import typer

from keda_jobs.cli.options import duration, rate
from keda_jobs.cli.terminal import sanitize
from keda_jobs.domain.durations import format_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("2h", 7200), ("1d", 86_400), ("1h30m", 5400), ("1.5h", 5400), ("2w", 1_209_600), ("500ms", 0.5)],
)
def test_durations_are_parsed(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-1h", "1y", "1h 30m", "1hx"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a duration such as"):
        duration(text)


@pytest.mark.parametrize(("text", "per_second"), [("20", 20), ("20/s", 20), ("0.5/s", 0.5)])
def test_rates_are_parsed(text: str, per_second: float) -> None:
    assert rate(text) == per_second


@pytest.mark.parametrize("text", ["", "0", "0.0/s", "-1", "5/m", "fast"])
def test_an_invalid_rate_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a rate such as"):
        rate(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0.4, "0s"), (59, "59s"), (61, "1m"), (12_000, "3h20m"), (7200, "2h"), (200_000, "2d")],
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


def test_sanitized_text_is_one_line_without_control_characters() -> None:
    assert sanitize("a\nb\x1b[31m\x9b\u202e\x7f") == "a b?[31m???"
    assert sanitize("  a", keep_blanks=True) == "  a"
