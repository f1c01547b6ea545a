"""How far a batch job is, without counting its rows anew."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.cli.terminal import format_percent
from keda_jobs.status.progress import Counts, apply_delta, time_left

numbers = st.integers(min_value=0, max_value=10**9)
some_counts = st.builds(Counts, numbers, numbers, numbers, numbers, numbers)


def test_what_is_done_and_what_is_left() -> None:
    counts = Counts(pending=5, processing=4, completed=3, waiting=2, given_up=1)

    assert (counts.done, counts.left, counts.total) == (4, 11, 15)


def test_the_books_say_what_changed_since_the_count() -> None:
    counted = Counts(pending=100, processing=20, completed=1000, waiting=3, given_up=7)
    then = Counts(pending=100, processing=20, completed=400, waiting=3, given_up=5)
    # 10 rows inserted, 20 claimed; of the 40 in work 30 completed, 2 failed for good, 1 waits.
    now = Counts(pending=90, processing=7, completed=430, waiting=4, given_up=7)

    assert apply_delta(counted, then, now) == Counts(90, 7, 1030, 4, 9)


@given(some_counts, some_counts)
def test_where_the_books_did_not_change_nothing_did(counted: Counts, totals: Counts) -> None:
    assert apply_delta(counted, totals, totals) == counted


@given(some_counts, some_counts)
def test_where_the_books_are_complete_they_are_the_counts(then: Counts, now: Counts) -> None:
    assert apply_delta(then, then, now) == now


def test_books_that_were_emptied_tell_nothing() -> None:
    counted = Counts(completed=10)

    assert apply_delta(counted, Counts(completed=11), Counts()) is None


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

    assert time_left(Counts(pending=left, completed=7), rows_per_s, last_retry_in) == expected


@pytest.mark.parametrize(("part", "whole", "text"), [(0, 0, "-"), (1, 3, "33.3 %"), (999_999, 10**6, "99.9 %")])
def test_all_is_100_percent_and_nothing_else(part: int, whole: int, text: str) -> None:
    assert format_percent(part, whole) == text
