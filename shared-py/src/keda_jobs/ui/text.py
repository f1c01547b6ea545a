"""Text and numbers for people. Foreign text shows as text, whatever it holds."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from markupsafe import Markup, escape
from rich.filesize import decimal

from keda_jobs.domain.durations import format_duration
from keda_jobs.status.row_counts import format_percent

LINE_LIMIT = 300
"""Characters of foreign text in a line of a page."""

# Control, format (among them marks that turn the direction), surrogates, private use, line and paragraph separators.
_ODD = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_C0 = 0x2400
_DELETE = 0x7F


def foreign(text: str, limit: int = LINE_LIMIT, *, keep_lines: bool = False) -> Markup:
    """Show text of strangers: what cannot be seen becomes visible, and only the first `limit` characters show.

    `keep_lines` leaves line breaks and tabs as they are, for a `<pre>`.
    """
    kept = "\n\t" if keep_lines else ""
    shown = Markup("").join(_pieces(text[:limit], kept))
    more = len(text) - limit
    rest = Markup('<span class="more"> … and {:,} more characters</span>').format(more) if more > 0 else Markup("")
    return Markup('<bdi class="foreign">{}{}</bdi>').format(shown, rest)


def _pieces(text: str, kept: str) -> Iterator[Markup]:
    plain: list[str] = []
    for char in text:
        if char in kept or unicodedata.category(char) not in _ODD:
            plain.append(char)
            continue
        yield escape("".join(plain))
        plain.clear()
        yield Markup('<span class="odd">{}</span>').format(_visible(char))
    yield escape("".join(plain))


def _visible(char: str) -> str:
    code = ord(char)
    if code < ord(" "):
        return chr(_C0 + code)
    return "\u2421" if code == _DELETE else f"U+{code:04X}"


def number(value: float) -> str:
    """Format a count: `12,345`."""
    return f"{value:,}"


def size(value: int) -> str:
    """Format a number of bytes: `1.2 MB`."""
    return decimal(value)


def rate(value: float | None) -> str:
    """Format a rate: `12.3/s`, or `–` where it is not known yet."""
    if value is None:
        return "–"
    return f"{value:,.0f}/s" if value >= 10 or value == 0 else f"{value:.2g}/s"


def duration(seconds: float) -> str:
    """Format a duration in its largest unit or two: `3h20m`."""
    return format_duration(timedelta(seconds=seconds))


def moment(value: datetime) -> Markup:
    """Show a time: in UTC, which the page's script turns into the viewer's zone."""
    return _time(value, f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC", is_local=True)


def age(value: datetime, now: datetime) -> Markup:
    """Show the time since `value`."""
    return _time(value, format_duration(now - value))


def due(value: datetime, now: datetime) -> Markup:
    """Show the time until `value`: `in 5m`, or `now`."""
    return _time(value, f"in {format_duration(value - now)}" if value > now else "now")


def _time(value: datetime, text: str, *, is_local: bool = False) -> Markup:
    utc = value.astimezone(UTC)
    iso, title = f"{utc:%Y-%m-%dT%H:%M:%S.%f}Z", f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    if is_local:
        return Markup('<time datetime="{}" title="{}" data-local>{}</time>').format(iso, title, text)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso, title, text)


FILTERS = {
    "age": age,
    "due": due,
    "duration": duration,
    "foreign": foreign,
    "moment": moment,
    "number": number,
    "percent": format_percent,
    "rate": rate,
    "size": size,
}
"""Filters of the templates."""
