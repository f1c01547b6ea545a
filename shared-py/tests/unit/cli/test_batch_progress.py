"""Progress of a batch job without counting its rows again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keda_jobs.status.row_counts import RowCounts, format_percent, time_left


def test_done_and_left_add_up_to_the_total() -> None:
    counts = RowCounts(pending=5, processing=4, completed=3, waiting=2, failed_permanently=1)

    assert (counts.done, counts.left, counts.total) == (4, 11, 15)


@pytest.mark.parametrize(
    ("left", "rows_per_s", "last_retry_in_s", "expected_s"),
    [
        (0, 0.0, None, 0),
        (0, 50.0, None, 0),
        (100, 50.0, None, 2),
        (100, 0.0, None, None),
        (100, 50.0, 30, 30),
        (100, 50.0, 1, 2),
        (100, 50.0, -30, 2),
    ],
)
def test_the_time_left(left: int, rows_per_s: float, last_retry_in_s: float | None, expected_s: float | None) -> None:
    last_retry_in = None if last_retry_in_s is None else timedelta(seconds=last_retry_in_s)
    expected = None if expected_s is None else timedelta(seconds=expected_s)

    assert time_left(RowCounts(pending=left, completed=7), rows_per_s, last_retry_in) == expected


@pytest.mark.parametrize(("part", "whole", "text"), [(0, 0, "-"), (1, 3, "33.3 %"), (999_999, 10**6, "99.9 %")])
def test_only_all_rows_are_100_percent(part: int, whole: int, text: str) -> None:
    assert format_percent(part, whole) == text
