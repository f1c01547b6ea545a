"""Names of the streams and their subjects, and which subjects a pattern matches."""

from __future__ import annotations

import re

STREAM = "keda-jobs-events"
"""Stream of events, due retries and dead letters. All consumers of jobs read it."""
RETRY_STREAM = "keda-jobs-retries"
"""Stream of waiting retries. The events stream sources the due ones."""
STREAMS = (STREAM, RETRY_STREAM)
DEAD_LETTER = "dead-letter"
RETRY_WAIT = "retry.wait"

# Half a surrogate pair is a byte of the command line that is not UTF-8.
_LITERAL = re.compile(r"[^\s.*>\x00-\x1f\x7f\ud800-\udfff]+(\.[^\s.*>\x00-\x1f\x7f\ud800-\udfff]+)*")


def is_literal(subject: str) -> bool:
    """Return whether `subject` can be published on: no wildcards, blanks, control characters or empty parts."""
    return _LITERAL.fullmatch(subject) is not None


def covers(pattern: str, subject: str) -> bool:
    """Return whether `pattern` matches every message that `subject` matches, which may have wildcards too."""
    wide, narrow = pattern.split("."), subject.split(".")
    for index, part in enumerate(wide):
        if part == ">":
            return len(narrow) > index
        if index >= len(narrow) or narrow[index] == ">" or (part != "*" and part != narrow[index]):
            return False
    return len(narrow) == len(wide)


def overlap(one: str, other: str) -> bool:
    """Return whether both patterns match some message."""
    ones, others = one.split("."), other.split(".")
    for left, right in zip(ones, others, strict=False):
        if ">" in (left, right):
            return True
        if left != right and "*" not in (left, right):
            return False
    return len(ones) == len(others)


def stream_of(subject: str) -> str:
    """Return the name of the stream in which a message on `subject` is stored."""
    return RETRY_STREAM if subject.startswith((f"{RETRY_WAIT}.", fire_subject(""))) else STREAM


def durable_name(job: str) -> str:
    """Return the name of a job's durable consumer."""
    return f"{job}-consumer"


def due_subject(job: str) -> str:
    """Return the subject on which `job`, and no other, receives its retries."""
    return f"retry.due.{job}"


def fire_subject(job: str) -> str:
    """Return the subject of the retries stream that reaches `job` at its `due_subject`."""
    return f"retry.fire.{job}"


def waiting_subject(job: str, message_id: str) -> str:
    """Return the subject that holds the one waiting retry of a message."""
    return f"{RETRY_WAIT}.{job}.{message_id}"
