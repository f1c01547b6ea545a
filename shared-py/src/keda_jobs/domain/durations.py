"""Durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as `90s`, `2h`, `1d` or `1h30m`. Raises `ValueError`."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 90s, 2h, 1d or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def format_duration(duration: timedelta) -> str:
    """Format a duration in its largest unit or two: `12s`, `5m`, `3h20m`, `9d`."""
    seconds = max(0, int(duration.total_seconds()))
    for index, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            minor = f"{rest // 60}m" if unit == "h" and rest >= 60 else ""
            return f"{count}{unit}{minor}" if index < len(_UNITS) else ""
    return "0s"
