"""Lines of a file by their numbers."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.cli.line_ranges import ALL_LINES, LineRanges

END = 60


@given(st.sets(st.integers(1, END)), st.none() | st.integers(1, END), st.sets(st.integers(1, END), min_size=1))
def test_what_is_left_is_what_was_not_published(sent: set[int], rest_from: int | None, selected: set[int]) -> None:
    lines = ALL_LINES.left(selected, None)
    left = lines.left(sent & selected, rest_from)

    expected = {number for number in selected if number in sent or (rest_from is not None and number >= rest_from)}
    assert {number for number in range(1, END + 9) if number in left} == expected
    if expected:
        assert LineRanges.parse(str(left)) == left


@pytest.mark.parametrize(
    ("numbers", "rest", "text"), [([3, 1, 2], 4, "1-"), ([1, 3], 9, "1,3,9-"), ([], 1, "1-"), ([], None, "")]
)
def test_ranges_that_touch_are_joined(numbers: list[int], rest: int | None, text: str) -> None:
    assert str(ALL_LINES.left(numbers, rest)) == text


@pytest.mark.parametrize("text", ["", "0", "-", "-3", "5-4", "1,,2", "a", "1-2-3", "9" * 5000, "\u0663"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        LineRanges.parse(text)
