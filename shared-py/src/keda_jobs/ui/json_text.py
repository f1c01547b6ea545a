"""JSON for people. What it says stays as it was published, to the digit."""

from __future__ import annotations

import re
from collections.abc import Iterator

from keda_jobs.domain.event import is_strict_json

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+', re.DOTALL)
_STEP = "  "
# Hostile JSON may be nested deeply, and blanks in front of each line would make a page of it huge.
_MAX_DEPTH = 40
# Nobody reads more than that, and a megabyte takes a second.
_MAX_LENGTH = 100_000


def indent(text: str) -> str:
    """Return JSON with one value in a line. Text that is none, or is very long, stays as it is."""
    if len(text) > _MAX_LENGTH or not is_strict_json(text.encode(errors="replace")):
        return text
    return "".join(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    depth, previous = 0, ""
    for part in _TOKEN.findall(text):
        if part in ("}", "]"):
            depth -= 1
            if previous not in ("{", "["):
                yield _line(depth)
        elif previous in ("{", "[", ","):
            yield _line(depth)
        yield ": " if part == ":" else part
        if part in ("{", "["):
            depth += 1
        previous = part


def _line(depth: int) -> str:
    return "\n" + _STEP * min(depth, _MAX_DEPTH)
