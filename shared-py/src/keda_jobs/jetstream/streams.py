"""Stream and consumers: declared in `jobs/stream.json` and `jobs/*/consumer.json`, applied by `apply`.

The files hold JetStream's own JSON (durations in ns). An undeclared key keeps the server's value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keda_jobs.domain.subjects import RETRY_WAIT, STREAM, covers, due_subject, durable_name, overlap
from keda_jobs.errors import BrokerUnavailable, Misconfigured
from keda_jobs.jetstream import stream_diff
from keda_jobs.jetstream.api import ApiError, Info, StreamMissing, durable_consumers, request
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.stream_diff import Action, Change, merge, normalize

Config = Mapping[str, Any]

# In a cluster the replicas of a new stream or consumer elect a leader first. Until then nobody answers, which may take
# longer than the time limit of a request. To repeat it is harmless.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Declaration:
    """Stream and consumers as the repository declares them."""

    stream: Config
    consumers: tuple[Config, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes that `apply` found and made, stream first."""

    items: tuple[Change, ...]

    @property
    def refusals(self) -> tuple[str, ...]:
        """One line for each destructive change: its loss, and the remedy."""
        return tuple(line for change in self.items for line in change.refusals)

    @property
    def pending(self) -> tuple[Change, ...]:
        """Changes that create or update."""
        return tuple(change for change in self.items if change.action in (Action.CREATE, Action.UPDATE))


class RefusedChange(Misconfigured):
    """The declaration asks for a destructive change. Nothing was applied."""

    def __init__(self, changes: Changes) -> None:
        super().__init__("nothing was applied: " + "; ".join(changes.refusals))
        self.changes = changes


def find_jobs(start: Path) -> Path:
    """Find the nearest folder `jobs` with a `stream.json`, from `start` upward. Raises `Misconfigured`."""
    for folder in (start, *start.parents):
        if (folder / "jobs" / "stream.json").is_file():
            return folder / "jobs"
    raise Misconfigured(f"no jobs/stream.json in {start} or above it; name the folder with --jobs")


def read_declaration(jobs: Path) -> Declaration:
    """Read and check the declaration in the folder `jobs`. Raises `Misconfigured`, which names every mistake."""
    stream = _read(jobs / "stream.json")
    found = {path.parent.name: _read(path) for path in sorted(jobs.glob("*/consumer.json"))}
    mistakes = [*_stream_mistakes(stream)]
    for job, consumer in found.items():
        mistakes += (f"{jobs / job}/consumer.json: {mistake}" for mistake in _consumer_mistakes(job, consumer, stream))
    if mistakes:
        raise Misconfigured("; ".join(mistakes))
    return Declaration(stream, tuple(found.values()))


def with_replicas(declaration: Declaration, replicas: int) -> Declaration:
    """Return `declaration` with this number of replicas. One without a number keeps the server's."""
    return replace(declaration, stream={**declaration.stream, "num_replicas": replicas})


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise Misconfigured(f"{path} is not a JSON object")
    return config


def _stream_mistakes(stream: Config) -> list[str]:
    mistakes = []
    if stream.get("name") != STREAM:
        mistakes.append(f'stream.json: "name" must be "{STREAM}"')
    if not _strings(stream.get("subjects")):
        mistakes.append('stream.json: "subjects" must be a list of subjects')
    return mistakes


def _strings(value: Any) -> list[str]:
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else []


def _consumer_mistakes(job: str, consumer: Config, stream: Config) -> list[str]:
    filters = _strings(normalize(consumer).get("filter_subjects"))
    due = due_subject(job)
    mistakes = []
    if consumer_name(consumer) != durable_name(job):
        mistakes.append(f'"durable_name" must be "{durable_name(job)}"')
    if due not in filters:
        mistakes.append(f'"filter_subjects" must hold "{due}", or retries never come back')
    for subject in filters:
        if not any(covers(taken, subject) for taken in _strings(stream.get("subjects"))):
            mistakes.append(f"the stream takes no subject {subject}")
        if overlap(subject, f"{RETRY_WAIT}.>"):
            mistakes.append(f"the filter {subject} would deliver retries that still wait ({RETRY_WAIT}.>)")
        elif subject != due and overlap(subject, "retry.due.>"):
            mistakes.append(f"the filter {subject} would take other jobs' retries")
    return mistakes


def consumer_name(consumer: Config) -> str:
    """Return the name in a consumer's config."""
    return str(consumer.get("durable_name") or consumer.get("name") or "")


async def apply(connection: NatsConnection, declaration: Declaration, *, dry_run: bool = False) -> Changes:
    """Create and update the server's stream and consumers as declared. Change only what differs.

    Undeclared consumers are reported and left alone. Raises `RefusedChange`, before anything is applied, when a change
    would lose messages or the server cannot make it, and `ApiError` when the server refuses one.
    """
    stream = await _stream_change(connection, declaration.stream)
    changes = Changes((stream, *await _consumer_changes(connection, declaration)))
    if changes.refusals:
        raise RefusedChange(changes)
    if not dry_run:
        for change in changes.pending:
            await _repeat_request(connection, *_request_for(change))
    return changes


async def _repeat_request(connection: NatsConnection, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    for _ in range(_TRIES - 1):
        try:
            return await request(connection, verb, body)
        except ApiError:
            raise
        except BrokerUnavailable:
            continue
    return await request(connection, verb, body)


async def _stream_change(connection: NatsConnection, declared: Config) -> Change:
    try:
        info = await _repeat_request(connection, f"STREAM.INFO.{STREAM}")
    except StreamMissing:
        return Change(Action.CREATE, "stream", STREAM, target=dict(declared))
    actual = info["config"]
    fields = stream_diff.differences(declared, actual)
    refusals = [*stream_diff.stream_refusals(fields)]
    for subject in stream_diff.removed_subjects(declared, actual):
        refusals += await _still_held(connection, subject, declared["subjects"])
    return stream_diff.update("stream", STREAM, fields, merge(actual, declared), refusals)


async def _still_held(connection: NatsConnection, removed: str, declared: list[str]) -> list[str]:
    info = await _repeat_request(connection, f"STREAM.INFO.{STREAM}", {"subjects_filter": removed})
    counts: dict[str, int] = info["state"].get("subjects") or {}
    held = sum(count for subject, count in counts.items() if not any(covers(kept, subject) for kept in declared))
    if not held:
        return []
    remedy = f"to delete them, run nats stream purge {STREAM} --subject '{removed}' first"
    return [f"stream {STREAM}: {removed} holds {held} message{'s' * (held > 1)} that no job could reach; {remedy}"]


async def _consumer_changes(connection: NatsConnection, declaration: Declaration) -> list[Change]:
    found = {str(info["name"]): info for info in await durable_consumers(connection)}
    changes = [_consumer_change(declared, found.get(consumer_name(declared))) for declared in declaration.consumers]
    declared_names = {consumer_name(declared) for declared in declaration.consumers}
    return changes + [Change(Action.UNDECLARED, "consumer", name) for name in found if name not in declared_names]


def _consumer_change(declared: Config, info: Info | None) -> Change:
    name = consumer_name(declared)
    if info is None:
        return Change(Action.CREATE, "consumer", name, target=dict(declared))
    actual = info["config"]
    fields = stream_diff.differences(declared, actual)
    refusals = stream_diff.consumer_refusals(name, fields, unread=info["num_pending"] + info["num_ack_pending"])
    return stream_diff.update("consumer", name, fields, merge(actual, declared), refusals)


def _request_for(change: Change) -> tuple[str, dict[str, Any]]:
    verb = "CREATE" if change.action is Action.CREATE else "UPDATE"
    if change.kind == "stream":
        return f"STREAM.{verb}.{STREAM}", change.target
    # Since 2.9 one verb creates and updates consumers. `action` keeps two appliers from overwriting each other.
    return f"CONSUMER.CREATE.{STREAM}.{change.name}", {
        "stream_name": STREAM,
        "config": change.target,
        "action": verb.lower(),
    }
