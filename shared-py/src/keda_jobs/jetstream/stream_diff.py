"""Comparison of a declared config with the server's, and the changes that would lose something. No I/O."""

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

_LOWERED_LOSES = ("max_age", "max_msgs", "max_bytes", "max_msgs_per_subject", "max_consumers")
# All that JetStream allows. One retry that the events stream cannot take holds up those behind it.
_ADDED_HEADERS = 64 * 1024
_STREAM_FIXED = frozenset(("storage", "retention", "discard"))
_ONE_WAY_OFF = frozenset(("allow_msg_schedules", "allow_msg_ttl"))
_ONE_WAY_ON = frozenset(("sealed", "deny_delete", "deny_purge"))
_CONSUMER_FIXED = frozenset(
    ("deliver_policy", "ack_policy", "replay_policy", "opt_start_seq", "opt_start_time", "max_waiting", "mem_storage")
)


class Action(enum.Enum):
    """Action on a stream, consumer or schedule. The value is its sign in the output."""

    CREATE = "+"
    UPDATE = "~"
    SAME = "="
    UNDECLARED = "?"
    CANCEL = "-"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """Declared key whose value differs on the server."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key} {format_value(self.key, self.before)} → {format_value(self.key, self.after)}"


@dataclass(frozen=True, slots=True)
class Change:
    """Change of one stream or consumer. `target` is the whole config to send.

    `refusals` are never made, `losses` only where somebody has agreed.
    """

    action: Action
    kind: str
    name: str
    fields: tuple[FieldChange, ...] = ()
    refusals: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    target: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        line = f"{self.action.value} {self.kind} {self.name}"
        if self.fields:
            return f"{line}: {', '.join(map(str, self.fields))}"
        return f"{line} is on the server and not declared; left alone" if self.action is Action.UNDECLARED else line


def update(
    kind: str, name: str, fields: Sequence[FieldChange], target: dict[str, Any], refusals: Iterable[str]
) -> Change:
    """Build the change of a stream or consumer that already exists."""
    return Change(Action.UPDATE if fields else Action.SAME, kind, name, tuple(fields), tuple(refusals), target=target)


def differences(declared: Mapping[str, Any], actual: Mapping[str, Any]) -> list[FieldChange]:
    """Compare the declared keys only. The server adds others."""
    wanted, found = normalize(declared), normalize(actual)
    return [
        FieldChange(key, found.get(key), value)
        for key, value in wanted.items()
        if not (key in _DEFAULTED and not value) and not _same(value, found.get(key))
    ]


def normalize(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrite `config` so that configs with the same meaning are equal."""
    fields = dict(config)
    if single := fields.pop("filter_subject", None):
        fields["filter_subjects"] = [single]
    return {key: -1 if key in _LIMITS and value == 0 else value for key, value in fields.items()}


def _same(declared: Any, actual: Any) -> bool:
    if isinstance(declared, Mapping):
        return all(_same(value, (actual or {}).get(key)) for key, value in declared.items())
    if isinstance(declared, list) and all(isinstance(item, str) for item in declared):
        return sorted(declared) == sorted(actual or [])
    if isinstance(declared, list):
        return len(declared) == len(actual or []) and all(map(_same, declared, actual or []))
    # The server leaves empty values out of its answer.
    return bool(declared == actual) or (not declared and not actual)


def merge(actual: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the declared keys into the server's config, nested ones too."""
    result = normalize(actual)
    for key, value in normalize(declared).items():
        result[key] = merge(result.get(key) or {}, value) if isinstance(value, Mapping) else value
    return result


def removed_subjects(declared: Mapping[str, Any], actual: Mapping[str, Any]) -> list[str]:
    """Return the server's subjects that the declaration no longer covers."""
    return [
        subject
        for subject in actual.get("subjects") or []
        if not any(covers(kept, subject) for kept in declared["subjects"])
    ]


def size_refusals(declared: Mapping[str, Any], max_payload: int) -> list[str]:
    """Return a line where the stream might refuse a dead letter, or a retry with the headers that the server adds."""
    size, largest = declared.get("max_msg_size"), max_payload + _ADDED_HEADERS
    if _bound(size) >= largest:
        return []
    reason = f"is less than the {largest} bytes that a dead letter or a due retry may have"
    return [f"stream {declared['name']}: max_msg_size {size} {reason}: declare -1"]


def stream_refusals(stream: str, fields: Iterable[FieldChange]) -> list[str]:
    """Return one line for each change of the stream that would lose messages or cannot be undone."""
    return [f"stream {stream}: {change} {reason}" for change in fields if (reason := _stream_reason(stream, change))]


def _stream_reason(stream: str, change: FieldChange) -> str | None:
    key, before, after = change.key, change.before, change.after
    if key == "allow_msg_schedules" and before and not after:
        return "cannot be changed in place: docs/streams.md says how to move its messages to a new stream"
    if key in _STREAM_FIXED or (key in _ONE_WAY_OFF and before and not after):
        return f"cannot be changed in place: back up the stream (nats stream backup {stream} …), delete it, apply again"
    if key in _ONE_WAY_ON and after:
        return f"can never be undone: to do it anyway, run nats stream edit {stream}"
    if key == "sources" and _sourced(before) - _sourced(after):
        return f"would leave messages in the sourced stream for ever: to do it anyway, run nats stream edit {stream}"
    return None


def is_lower_limit(change: FieldChange) -> bool:
    """Return whether a change of a stream lowers a limit, at which the server deletes messages."""
    return change.key in _LOWERED_LOSES and _bound(change.after) < _bound(change.before)


def _sourced(sources: Sequence[Mapping[str, Any]] | None) -> set[tuple[str, str]]:
    """Return each sourced stream with each subject that is taken from it, `>` without a transform."""
    return {
        (source["name"], transform["src"])
        for source in sources or []
        for transform in source.get("subject_transforms") or [{"src": ">"}]
    }


def _bound(limit: Any) -> float:
    return limit if isinstance(limit, int) and limit > 0 else float("inf")


def consumer_refusals(name: str, fields: Iterable[FieldChange], *, unread: int) -> list[str]:
    """Return one line for each change of a consumer that the server cannot make or that would leave messages unread."""
    return [
        f"consumer {name}: {change} {reason}" for change in fields if (reason := _consumer_reason(name, change, unread))
    ]


def _consumer_reason(name: str, change: FieldChange, unread: int) -> str | None:
    if change.key in _CONSUMER_FIXED:
        return (
            f"cannot be changed in place: wait until its lag is 0, delete it (nats consumer rm {STREAM} {name}), "
            "apply again; the new one starts where its deliver_policy says"
        )
    if change.key == "filter_subjects" and unread:
        lost = [old for old in change.before or [] if not any(covers(kept, old) for kept in change.after)]
        if lost:
            return f"would leave messages unread ({unread} waiting or in flight): wait until its lag is 0, apply again"
    return None


def format_value(key: str, value: Any) -> str:
    """Format a config's value: durations with units, lists with commas, `none` for an unset one."""
    if value is None or (key in _LIMITS and value == -1) or (key == "max_age" and value == 0):
        return "none"
    if key in _DURATIONS and isinstance(value, int):
        return format_duration_ns(value)
    if key == "sources":
        return "[" + ", ".join(map(_format_source, value)) + "]"
    if isinstance(value, list):
        return "[" + ", ".join(format_duration_ns(item) if key == "backoff" else str(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _format_source(source: Mapping[str, Any]) -> str:
    transforms = source.get("subject_transforms") or []
    start = [f"from {source['opt_start_seq']}"] if source.get("opt_start_seq") else []
    return " ".join(
        [source["name"], *start, *(f"{transform['src']} as {transform['dest']}" for transform in transforms)]
    )


def format_duration_ns(ns: int) -> str:
    """Format a duration in nanoseconds as `7d`, `1h30m` or `1.5s`."""
    if 0 < ns < _UNITS[-1][1] or ns % 10**6:
        return f"{ns / 10**9:g}s"
    parts = []
    for unit, size in _UNITS:
        count, ns = divmod(ns, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
