"""Patterns of subjects: what they cover and where they overlap."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.domain.subjects import covers, is_literal, overlap

literals = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(".".join)
patterns = st.tuples(st.lists(st.sampled_from("ab*"), min_size=0, max_size=3), st.booleans()).map(
    lambda parts: ".".join([*parts[0], *([">"] if parts[1] or not parts[0] else [])])
)


def takes(pattern: str, subject: str) -> bool:
    """Return whether `pattern` matches: `*` is one part, and `>` at the end one or more."""
    expression = re.escape(pattern).replace(r"\*", "[^.]+").replace(">", ".+")
    return re.fullmatch(expression, subject) is not None


@given(patterns, literals)
def test_a_pattern_covers_the_subjects_it_matches(pattern: str, subject: str) -> None:
    assert covers(pattern, subject) == takes(pattern, subject)
    assert overlap(pattern, subject) == takes(pattern, subject)


@given(patterns, patterns, literals)
def test_covered_subjects_match_and_common_matches_overlap(one: str, other: str, subject: str) -> None:
    if covers(one, other) and takes(other, subject):
        assert takes(one, subject)
    if takes(one, subject) and takes(other, subject):
        assert overlap(one, other)
    assert overlap(one, other) == overlap(other, one)


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("retry.>", "retry.due.*", True),
        ("retry.>", "retry", False),
        ("retry.*", "retry.>", False),
        ("retry.*", "retry.*", True),
        ("retry.due", "retry.*", False),
        (">", "retry.>", True),
        ("retry.>", ">", False),
    ],
)
def test_covering_of_patterns(wide: str, narrow: str, covered: bool) -> None:
    assert covers(wide, narrow) is covered


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("retry.>", "retry.wait.>", True),
        ("retry.*.image-download", "retry.wait.>", True),
        ("retry.*", "retry.wait.>", False),
        ("*.due.a", "retry.due.*", True),
        ("image-download", "retry.wait.>", False),
    ],
)
def test_overlap_of_patterns(one: str, other: str, meet: bool) -> None:
    assert overlap(one, other) is meet


@pytest.mark.parametrize("subject", ["image-download", "a.b.c", "größe", "$JS.API"])
def test_literal(subject: str) -> None:
    assert is_literal(subject)


@pytest.mark.parametrize("subject", ["", ".", "a.", ".a", "a..b", "a b", "a\r\nPUB x", "a.*", ">", "a\tb", "a\x00"])
def test_not_literal(subject: str) -> None:
    assert not is_literal(subject)
