"""Statuses of HTTP: which answers may carry a picture, and the job errors for the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from keda_jobs import Permanent, RetryAfter, Transient

REDIRECTS = frozenset({301, 302, 303, 307, 308})

_WITHOUT_BODY = frozenset({204, 205})
_RETRYABLE = frozenset({202, 408, 421, 423, 425, 429})
_GONE = frozenset({404, 410})
_SECONDS = re.compile(r"[0-9]+")
_A_YEAR_S = 366 * 24 * 3600.0
_WHOLE = re.compile(r"bytes 0-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)


class HttpRefused(Permanent):
    """The server answered with a status that a retry does not change, such as 404 or 410."""


class HttpUnavailable(Transient):
    """The server answered that it is unavailable, such as 429 or 503, or that the picture is not there yet (202)."""


def has_body(status: int) -> bool:
    """Return whether an answer with `status` may carry the picture."""
    return 200 <= status < 300 and status not in _WITHOUT_BODY


def is_whole(status: int, content_range: str | None) -> bool:
    """Return whether the body is the whole picture: a part (206) says that it begins at 0 and ends at the end."""
    match = _WHOLE.fullmatch((content_range or "").strip())
    return status != 206 or (match is not None and int(match[1]) + 1 == int(match[2]))


def failure(status: int, delay_s: float | None) -> Permanent | Transient:
    """Build the error for an answer without a picture, whose server asked for a delay of `delay_s` seconds or none."""
    text = f"the server answered {status}"
    if delay_s is not None and (status >= 400 or has_body(status)) and status not in _GONE:
        return RetryAfter(f"{text} and asks for a pause of {delay_s:.0f} s", delay_s=delay_s)
    # A status outside HTTP's five classes counts as 5xx (RFC 9110, section 15), and so does 1xx as the answer.
    is_temporary = status in _RETRYABLE or not 200 <= status < 500
    return HttpUnavailable(text) if is_temporary else HttpRefused(text)


def requested_delay_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds after which the server asks to come again, or None."""
    delay_s = retry_after_s(headers.get("Retry-After"), now)
    # A Refresh with a URL leads elsewhere.
    return delay_s if delay_s is not None else retry_after_s(headers.get("Refresh"), now)


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Return the seconds until the time in a Retry-After header, at most a year. None: it is absent or invalid."""
    if header is None:
        return None
    if _SECONDS.fullmatch(header.strip()):
        return min(float(header), _A_YEAR_S)
    try:
        due = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    # asctime, the oldest of HTTP's three date formats, has no time zone. HTTP dates are always UTC.
    due = due if due.tzinfo else due.replace(tzinfo=UTC)
    return min(max(0.0, (due - now).total_seconds()), _A_YEAR_S)
