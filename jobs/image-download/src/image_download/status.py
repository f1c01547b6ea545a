"""Mapping of HTTP statuses other than 200 to job errors."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from keda_jobs import Permanent, RetryAfter, Transient

REDIRECTS = frozenset({301, 302, 303, 307, 308})

_RETRYABLE = frozenset({408, 425, 429, *range(500, 600)})
_SECONDS = re.compile(r"[0-9]+")
_A_YEAR_S = 366 * 24 * 3600.0


class HttpRefused(Permanent):
    """The server answered with a status that a retry does not change, such as 404 or 410."""


class HttpUnavailable(Transient):
    """The server answered that it is unavailable: 408, 425, 429 or 5xx."""


def failure(status: int, retry_after: str | None, now: datetime) -> Permanent | Transient:
    """Build the error for a final `status` other than 200. `retry_after` is the header as received."""
    text = f"the server answered {status}"
    if status not in _RETRYABLE:
        return HttpRefused(text)
    delay_s = retry_after_s(retry_after, now)
    if delay_s is None:
        return HttpUnavailable(text)
    return RetryAfter(f"{text} with Retry-After {delay_s:.0f} s", delay_s=delay_s)


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
