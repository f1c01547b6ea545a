"""Cron rules as NATS reads them: second, minute, hour, day, month and weekday."""

from __future__ import annotations

import re
from typing import NamedTuple

_RANGE = re.compile(r"(?:[*?]|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]{1,9}))?", re.ASCII)
_EVERY_DAY = re.compile(r"[*?](/0*1)?")
_DAYS_OF = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class _Field(NamedTuple):
    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()


_SECOND, _MINUTE, _HOUR = _Field("second", 0, 59), _Field("minute", 0, 59), _Field("hour", 0, 23)
_DAY = _Field("day", 1, 31)
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("weekday", 0, 6, _WEEKDAYS)


def six_fields(rule: str) -> str:
    """Return a rule of five fields, or of six that begin with the second, as NATS takes it. Raises `ValueError`."""
    texts = rule.split()
    if len(texts) == 5:
        texts = ["0", *texts]
    if len(texts) != 6:
        raise ValueError(f"{rule!r} is no rule of five fields: minute, hour, day, month, weekday")
    fields = (_SECOND, _MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)
    *_, days, months, _ = (_numbers(text, field) for text, field in zip(texts, fields, strict=True))
    # With a weekday in it, NATS takes the day or the weekday. It never asks for both.
    is_any_weekday = any(_EVERY_DAY.fullmatch(part) for part in texts[-1].split(","))
    if is_any_weekday and min(days) > max(_DAYS_OF[month - 1] for month in months):
        raise ValueError(f"{rule!r} never comes: no such month has that day")
    return " ".join(texts)


def _numbers(text: str, field: _Field) -> set[int]:
    """Return the numbers that the text of a field stands for. Raises `ValueError`."""
    numbers: set[int] = set()
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            raise ValueError(f"{part!r} is no {field.name}: write a number, *, 1-5, */5 or a list of these")
        step = int(found["step"] or 1)
        first = _number(found["first"], field) if found["first"] else field.lowest
        last = _number(found["last"], field) if found["last"] else first
        # NATS reads 5/15 as 5-59/15.
        if not found["first"] or (found["step"] and not found["last"]):
            last = field.highest
        if not step or first > last:
            raise ValueError(f"{part!r} is no {field.name}: it stands for none")
        numbers.update(range(first, last + 1, step))
    return numbers


def _number(text: str, field: _Field) -> int:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.lowest
    if not text.isdigit() or not field.lowest <= int(text) <= field.highest:
        names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise ValueError(f"{text!r} is no {field.name}: write {field.lowest} to {field.highest}{names}")
    return int(text)
