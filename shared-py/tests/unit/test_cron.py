"""Cron rules of job.toml. `integration/test_declared_schedules.py` compares them with the server's."""

from __future__ import annotations

import re

import pytest

from keda_jobs.domain.cron import six_fields


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        ("30 2 * * *", "0 30 2 * * *"),
        ("  */5  8-18 1,15 jan-Mar MON-fri ", "0 */5 8-18 1,15 jan-Mar MON-fri"),
        ("15 30 2 ? * 0", "15 30 2 ? * 0"),
    ],
)
def test_a_rule_has_five_fields_or_begins_with_the_second(rule: str, taken: str) -> None:
    assert six_fields(rule) == taken


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("", "'' is no rule of five fields"),
        ("@daily", "'@daily' is no rule of five fields: minute, hour, day, month, weekday"),
        ("0 0 * * * * 2026", "no rule of five fields"),
        ("60 * * * *", "'60' is no minute: write 0 to 59"),
        ("0 24 * * *", "'24' is no hour: write 0 to 23"),
        ("0 0 0 * *", "'0' is no day: write 1 to 31"),
        ("0 0 L * *", "'L' is no day: write 1 to 31"),
        ("0 0 * 13 *", "'13' is no month: write 1 to 12 or jan to dec"),
        ("0 0 * * 7", "'7' is no weekday: write 0 to 6 or sun to sat"),
        ("0 0 * * monday", "'monday' is no weekday"),
        ("5-1 * * * *", "'5-1' is no minute: it stands for none"),
        ("*/0 * * * *", "'*/0' is no minute: it stands for none"),
        ("1,,2 * * * *", "'' is no minute: write a number, *, 1-5, */5 or a list of these"),
        ("-5 * * * *", "'-5' is no minute"),
        ("5- * * * *", "'5-' is no minute"),
        ("TZ=UTC 0 0 * * * *", "no rule of five fields"),
        ("² * * * *", "'²' is no minute"),
        ("0 0 31 2 *", "'0 0 31 2 *' never comes: no such month has that day"),
        ("0 0 31 feb,apr,jun *", "never comes"),
    ],
)
def test_what_is_no_rule_is_one_line(rule: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        six_fields(rule)


@pytest.mark.parametrize("rule", ["0 0 29 2 *", "0 0 31 2 1", "0 0 31 2 */2", "0 0 31 jan,feb *"])
def test_a_rare_rule_is_taken(rule: str) -> None:
    assert six_fields(rule) == f"0 {rule}"
