"""Job errors for HTTP statuses and Retry-After headers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_download.status import failure, retry_after_s
from keda_jobs import Permanent, RetryAfter, Transient

NOW = datetime(1994, 11, 6, 8, 49, 0, tzinfo=UTC)
YEAR_S = 366 * 24 * 3600


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 507, 520, 599])
def test_a_temporary_status_is_retried(status: int) -> None:
    assert type(failure(status, None, NOW)).__mro__[1] is Transient
    asked = failure(status, "7", NOW)
    assert isinstance(asked, RetryAfter)
    assert asked.delay_s == 7


@pytest.mark.parametrize(
    "status",
    [101, 201, 202, 203, 204, 205, 206, 300, 304, 305, 306, 400, 401, 403, 404, 405, 410, 416, 451, 499, 600, 999],
)
def test_every_other_status_is_permanent_whatever_retry_after_says(status: int) -> None:
    error = failure(status, "7", NOW)
    assert isinstance(error, Permanent)
    assert str(error) == f"the server answered {status}"


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
