"""Job errors for HTTP statuses and Retry-After headers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_download.status import failure, is_whole, requested_delay_s, retry_after_s
from keda_jobs import Permanent, RetryAfter, Transient

NOW = datetime(1994, 11, 6, 8, 49, 0, tzinfo=UTC)
YEAR_S = 366 * 24 * 3600


@pytest.mark.parametrize("status", [202, 408, 421, 423, 425, 429, 500, 501, 504, 507, 520, 599, 600, 999])
def test_a_temporary_status_is_retried(status: int) -> None:
    assert type(failure(status, None)).__mro__[1] is Transient
    asked = failure(status, 7)
    assert isinstance(asked, RetryAfter)
    assert asked.delay_s == 7


def test_an_informational_status_is_no_answer_and_retried() -> None:
    assert isinstance(failure(101, None), Transient)


@pytest.mark.parametrize("status", [204, 205, 300, 304, 305, 306, 404, 410])
def test_a_final_status_is_permanent_whatever_retry_after_says(status: int) -> None:
    for error in (failure(status, None), failure(status, 7)):
        assert isinstance(error, Permanent)
        assert str(error) == f"the server answered {status}"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 405, 413, 416, 451, 499])
def test_every_other_status_is_permanent_unless_the_server_asks_to_come_again(status: int) -> None:
    assert isinstance(failure(status, None), Permanent)
    assert isinstance(failure(status, 7), RetryAfter)


@pytest.mark.parametrize(
    ("headers", "delay_s"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Refresh": "5"}, 5),
        ({"Retry-After": "7", "Refresh": "5"}, 7),
        ({"Retry-After": "soon", "Refresh": "5"}, 5),
        ({"Retry-After": "0", "Refresh": "5"}, 0),
        ({"Refresh": "0; url=/login"}, None),
        ({}, None),
    ],
)
def test_a_server_asks_to_come_again_with_retry_after_or_refresh(headers: dict[str, str], delay_s: int | None) -> None:
    assert requested_delay_s(headers, NOW) == delay_s


@pytest.mark.parametrize(
    ("status", "content_range", "whole"),
    [
        (200, None, True),
        (203, "bytes 0-4/10", True),
        (206, "bytes 0-9/10", True),
        (206, " Bytes 0-0/1 ", True),
        (206, "bytes 0-8/10", False),
        (206, "bytes 1-9/10", False),
        (206, "bytes 0-9/*", False),
        (206, "bytes */10", False),
        (206, "bytes 0-" + "9" * 5000 + "/1", False),
        (206, "", False),
        (206, None, False),
    ],
)
def test_a_part_is_whole_only_if_it_says_so(status: int, content_range: str | None, whole: bool) -> None:
    assert is_whole(status, content_range) is whole


@pytest.mark.parametrize(
    ("header", "delay_s"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("999999999", YEAR_S),
        ("9" * 5000, YEAR_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", YEAR_S),
        ("Fri, 31 Dec 9999 23:59:59 -2359", YEAR_S),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37),
        ("Sun Nov  6 08:49:37 1994", 37),
        ("Sat, 05 Nov 1994 08:49:37 GMT", 0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\uff11\uff12", None),
        ("Sun, 06 Nov 99999999999999999999 08:49:37 GMT", None),
        ("Sun, 36 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_formats_and_ignored_when_invalid(
    header: str | None, delay_s: float | None
) -> None:
    assert retry_after_s(header, NOW) == delay_s


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,12} Nov [0-9]{1,12} [0-9:]{1,12} [+-][0-9]{1,12}"))
def test_any_header_gives_a_delay_or_nothing(header: str) -> None:
    delay_s = retry_after_s(header, NOW)
    assert delay_s is None or 0 <= delay_s <= YEAR_S
