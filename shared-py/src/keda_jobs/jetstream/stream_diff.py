"""Compares a declared config with the server's, and names the changes that would lose something. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keda_jobs.domain.subjects import STREAM, covers

_UNITS = (
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 10**6),
)
_DURATIONS = frozenset(
    ("max_age", "duplicate_window", "ack_wait", "inactive_threshold", "max_expires", "subject_delete_marker_ttl")
)
# Zero and -1 both mean "no limit" in a file; the server answers -1.
_LIMITS = frozenset(("max_msgs", "max_bytes", "max_msgs_per_subject", "max_msg_size", "max_consumers", "max_deliver"))
# Zero means "the server's default", which it then answers with.
_DEFAULTED = frozenset(
    ("max_ack_pending", "ack_wait", "max_waiting", "max_deliver", "duplicate_window", "num_replicas")
)

_LOWERED_LOSES = ("max_age", "max_msgs", "max_bytes", "max_msgs_per_subject", "max_msg_size", "max_consumers")
_STREAM_FIXED = frozenset(("storage", "retention", "discard"))
_ONE_WAY_OFF = frozenset(("allow_msg_schedules", "allow_msg_ttl"))
_ONE_WAY_ON = frozenset(("sealed", "deny_delete", "deny_purge"))
_CONSUMER_FIXED = frozenset(
    ("deliver_policy", "ack_policy", "replay_policy", "opt_start_seq", "opt_start_time", "max_waiting", "mem_storage")
)


class Action(enum.Enum):
    """What becomes of a stream or consumer; the value is the sign it is shown with."""

    CREATE = "+"
    UPDATE = "~"
    SAME = "="
    UNDECLARED = "?"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A declared key whose value the server does not have."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key} {shown(self.key, self.before)} → {shown(self.key, self.after)}"


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of one stream or consumer; `target` is the whole config to send."""

    action: Action
    kind: str
    name: str
    fields: tuple[FieldChange, ...] = ()
    refusals: tuple[str, ...] = ()
    target: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        line = f"{self.action.value} {self.kind} {self.name}"
        if self.fields:
            return f"{line}: {', '.join(map(str, self.fields))}"
        return f"{line} is on the server and not declared; left alone" if self.action is Action.UNDECLARED else line


def update(
    kind: str, name: str, fields: Sequence[FieldChange], target: dict[str, Any], refusals: Iterable[str]
) -> Change:
    """The change of something that is there already."""
    return Change(Action.UPDATE if fields else Action.SAME, kind, name, tuple(fields), tuple(refusals), target)


def differences(declared: Mapping[str, Any], actual: Mapping[str, Any]) -> list[FieldChange]:
    """The declared keys whose values differ; what the server filled in beside them is its own business."""
    wanted, found = normal(declared), normal(actual)
    return [
        FieldChange(key, found.get(key), value)
        for key, value in wanted.items()
        if not (key in _DEFAULTED and not value) and not _same(value, found.get(key))
    ]


def normal(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` in the one form of those that mean the same."""
    fields = dict(config)
    if single := fields.pop("filter_subject", None):
        fields["filter_subjects"] = [single]
    return {key: -1 if key in _LIMITS and value == 0 else value for key, value in fields.items()}


def _same(declared: Any, actual: Any) -> bool:
    if isinstance(declared, Mapping):
        return all(_same(value, (actual or {}).get(key)) for key, value in declared.items())
    if isinstance(declared, list) and all(isinstance(item, str) for item in declared):
        return sorted(declared) == sorted(actual or [])
    # The server leaves empty values out of its answer.
    return bool(declared == actual) or (not declared and not actual)


def merged(actual: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """The server's config with the declared keys over it, nested ones too."""
    result = normal(actual)
    for key, value in normal(declared).items():
        result[key] = merged(result.get(key) or {}, value) if isinstance(value, Mapping) else value
    return result


def removed_subjects(declared: Mapping[str, Any], actual: Mapping[str, Any]) -> list[str]:
    """The server's subjects that the declaration no longer takes as a whole."""
    return [
        subject
        for subject in actual.get("subjects") or []
        if not any(covers(kept, subject) for kept in declared["subjects"])
    ]


def stream_refusals(fields: Iterable[FieldChange]) -> list[str]:
    """One line for each change of the stream that would lose messages or cannot be taken back."""
    return [f"stream {STREAM}: {change} {reason}" for change in fields if (reason := _stream_reason(change))]


def _stream_reason(change: FieldChange) -> str | None:
    key, before, after = change.key, change.before, change.after
    if key in _STREAM_FIXED or (key in _ONE_WAY_OFF and before and not after):
        return f"cannot be changed in place: back the stream up (nats stream backup {STREAM} …), delete it, apply again"
    if key in _ONE_WAY_ON and after:
        return f"can never be taken back: if that is meant, do it by hand (nats stream edit {STREAM})"
    if key in _LOWERED_LOSES and _bound(after) < _bound(before):
        return f"may delete or refuse messages: if that is meant, do it by hand first (nats stream edit {STREAM})"
    return None


def _bound(limit: Any) -> float:
    return limit if isinstance(limit, int) and limit > 0 else float("inf")


def consumer_refusals(name: str, fields: Iterable[FieldChange], *, unread: int) -> list[str]:
    """One line for each change of a consumer that the server cannot make or that would leave messages unread."""
    return [
        f"consumer {name}: {change} {reason}" for change in fields if (reason := _consumer_reason(name, change, unread))
    ]


def _consumer_reason(name: str, change: FieldChange, unread: int) -> str | None:
    if change.key in _CONSUMER_FIXED:
        return (
            f"cannot be changed in place: let the consumer run empty, delete it (nats consumer rm {STREAM} {name}), "
            "apply again; the new one begins where its deliver_policy says"
        )
    if change.key == "filter_subjects" and unread:
        lost = [old for old in change.before or [] if not any(covers(kept, old) for kept in change.after)]
        if lost:
            return (
                f"would leave messages unread ({unread} wait or are in work): let the consumer run empty, apply again"
            )
    return None


def shown(key: str, value: Any) -> str:
    """A config's value for a person: durations with their unit, lists with commas, `none` for what is not set."""
    if value is None or (key in _LIMITS and value == -1) or (key == "max_age" and value == 0):
        return "none"
    if key in _DURATIONS and isinstance(value, int):
        return duration(value)
    if isinstance(value, list):
        return "[" + ", ".join(duration(item) if key == "backoff" else str(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def duration(ns: int) -> str:
    """A duration in nanoseconds as `7d`, `1h30m` or `1.5s`."""
    if 0 < ns < _UNITS[-1][1] or ns % 10**6:
        return f"{ns / 10**9:g}s"
    parts = []
    for unit, size in _UNITS:
        count, ns = divmod(ns, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
