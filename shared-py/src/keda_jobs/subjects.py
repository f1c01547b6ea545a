"""NATS subjects as sets: which messages a subject with wildcards takes."""

from __future__ import annotations

import re

_LITERAL = re.compile(r"[^\s.*>\x00-\x1f\x7f]+(\.[^\s.*>\x00-\x1f\x7f]+)*")


def is_literal(subject: str) -> bool:
    """Whether a message can be published on `subject`: no wildcards, blanks, control characters or empty parts."""
    return _LITERAL.fullmatch(subject) is not None


def covers(pattern: str, subject: str) -> bool:
    """Whether `pattern` takes every message that `subject`, which may have wildcards too, takes."""
    wide, narrow = pattern.split("."), subject.split(".")
    for index, part in enumerate(wide):
        if part == ">":
            return len(narrow) > index
        if index >= len(narrow) or narrow[index] == ">" or (part != "*" and part != narrow[index]):
            return False
    return len(narrow) == len(wide)


def overlap(one: str, other: str) -> bool:
    """Whether some message is taken by both patterns."""
    ones, others = one.split("."), other.split(".")
    for left, right in zip(ones, others, strict=False):
        if ">" in (left, right):
            return True
        if left != right and "*" not in (left, right):
            return False
    return len(ones) == len(others)
