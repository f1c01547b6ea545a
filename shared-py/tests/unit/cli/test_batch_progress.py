"""Progress of a batch job without counting its rows again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.cli.terminal import format_percent
from keda_jobs.status.row_counts import RowCounts, apply_delta, time_left

numbers = st.integers(min_value=0, max_value=10**9)
some_counts = st.builds(RowCounts, numbers, numbers, numbers, numbers, numbers)


def test_done_and_left_add_up_to_the_total() -> None:
    counts = RowCounts(pending=5, processing=4, completed=3, waiting=2, failed_permanently=1)

    assert (counts.done, counts.left, counts.total) == (4, 11, 15)


def test_totals_tell_what_changed_since_the_count() -> None:
    counted = RowCounts(pending=100, processing=20, completed=1000, waiting=3, failed_permanently=7)
    then = RowCounts(pending=100, processing=20, completed=400, waiting=3, failed_permanently=5)
    # 10 rows inserted, 20 claimed; of the 40 in flight 30 completed, 2 failed permanently, 1 waits.
    now = RowCounts(pending=90, processing=7, completed=430, waiting=4, failed_permanently=7)

    assert apply_delta(counted, then, now) == RowCounts(90, 7, 1030, 4, 9)


@given(some_counts, some_counts)
def test_equal_totals_mean_equal_counts(counted: RowCounts, totals: RowCounts) -> None:
    assert apply_delta(counted, totals, totals) == counted


@given(some_counts, some_counts)
def test_complete_totals_are_the_counts(then: RowCounts, now: RowCounts) -> None:
    assert apply_delta(then, then, now) == now


def test_emptied_totals_tell_nothing() -> None:
    counted = RowCounts(completed=10)

    assert apply_delta(counted, RowCounts(completed=11), RowCounts()) is None


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
