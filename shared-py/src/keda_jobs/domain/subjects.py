"""Names of the streams and their subjects, and which subjects a pattern matches."""

from __future__ import annotations

import re

STREAM = "keda-jobs-events"
"""Stream of events, due retries and dead letters. All consumers of jobs read it."""
RETRY_STREAM = "keda-jobs-retries"
"""Stream of waiting retries. The events stream sources the due ones."""
DELAYED_STREAM = "keda-jobs-delayed"
"""Stream of events to be published later. The events stream sources them when they are due."""
STREAMS = (STREAM, RETRY_STREAM, DELAYED_STREAM)
"""Streams that hold work."""
BACKUP_STREAM = "keda-jobs-backups"
"""Stream that holds when a backup was started and when the last complete one began."""
LONG_STREAM = "keda-jobs-long"
"""Stream that holds how far long work is, and which of it is cancelled."""
PROGRESS = "long.progress"
CANCEL = "long.cancel"
BACKUP_STARTED = "backup.started"
BACKUP_COMPLETE = "backup.complete"
DEAD_LETTER = "dead-letter"
RETRY_WAIT = "retry.wait"
DELAY_WAIT = "delay.wait"

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
    if subject in (BACKUP_STARTED, BACKUP_COMPLETE):
        return BACKUP_STREAM
    if subject.startswith((f"{PROGRESS}.", f"{CANCEL}.")):
        return LONG_STREAM
    if subject.startswith((f"{DELAY_WAIT}.", delay_fire_subject(""))):
        return DELAYED_STREAM
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


def progress_subject(job: str, message_id: str) -> str:
    """Return the subject that holds the last report of a pod on the message that it works on."""
    return f"{PROGRESS}.{job}.{message_id}"


def cancel_subject(job: str, message_id: str) -> str:
    """Return the subject that holds who has cancelled a message."""
    return f"{CANCEL}.{job}.{message_id}"


def delay_fire_subject(subject: str) -> str:
    """Return the subject of the delayed stream that reaches the events stream as `subject`."""
    return f"delay.fire.{subject}"
