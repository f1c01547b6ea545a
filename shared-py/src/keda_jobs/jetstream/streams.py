"""The stream and its consumers: declared in `jobs/stream.json` and `jobs/*/consumer.json`, applied by `apply`.

The files hold JetStream's own JSON (durations in ns). A key that is not declared keeps what the server has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from keda_jobs.domain.subjects import RETRY_WAIT, STREAM, covers, due_subject, overlap
from keda_jobs.errors import BrokerUnavailable, Misconfigured
from keda_jobs.jetstream import stream_diff as stream_changes
from keda_jobs.jetstream.api import CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, ApiError, ask
from keda_jobs.jetstream.stream_diff import Action, Change, merged, normal

Config = Mapping[str, Any]

# In a cluster the copies of what is new elect a leader first, which may take longer than an answer is waited for. Until
# then nobody answers, and asking again for the same does no harm.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the repository says there shall be."""

    stream: Config
    consumers: tuple[Config, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What `apply` found and did, stream first."""

    items: tuple[Change, ...]

    @property
    def refusals(self) -> tuple[str, ...]:
        """One line for each destructive change: what would be lost, and what to do."""
        return tuple(line for change in self.items for line in change.refusals)

    @property
    def pending(self) -> tuple[Change, ...]:
        """Those that create or update."""
        return tuple(change for change in self.items if change.action in (Action.CREATE, Action.UPDATE))


class RefusedChange(Misconfigured):
    """The declaration asks for a destructive change; nothing was applied."""

    def __init__(self, changes: Changes) -> None:
        super().__init__("nothing was applied: " + "; ".join(changes.refusals))
        self.changes = changes


def find_jobs(start: Path) -> Path:
    """The nearest folder `jobs` with a `stream.json`, from `start` upward. Raises `Misconfigured`."""
    for folder in (start, *start.parents):
        if (folder / "jobs" / "stream.json").is_file():
            return folder / "jobs"
    raise Misconfigured(f"no jobs/stream.json in {start} or above it; name the folder with --jobs")


def read_declaration(jobs: Path) -> Declaration:
    """The declaration in the folder `jobs`, checked. Raises `Misconfigured` naming every mistake."""
    stream = _read(jobs / "stream.json")
    found = {path.parent.name: _read(path) for path in sorted(jobs.glob("*/consumer.json"))}
    mistakes = [*_stream_mistakes(stream)]
    for job, consumer in found.items():
        mistakes += (f"{jobs / job}/consumer.json: {mistake}" for mistake in _consumer_mistakes(job, consumer, stream))
    if mistakes:
        raise Misconfigured("; ".join(mistakes))
    return Declaration(stream, tuple(found.values()))


def with_replicas(declaration: Declaration, replicas: int) -> Declaration:
    """`declaration` with so many copies of the stream; one that names no number keeps what the server has."""
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
    filters = _strings(normal(consumer).get("filter_subjects"))
    due = due_subject(job)
    mistakes = []
    if consumer_name(consumer) != f"{job}-consumer":
        mistakes.append(f'"durable_name" must be "{job}-consumer"')
    if due not in filters:
        mistakes.append(f'"filter_subjects" must hold "{due}", or retries never come back')
    for subject in filters:
        if not any(covers(taken, subject) for taken in _strings(stream.get("subjects"))):
            mistakes.append(f"the stream takes no subject {subject}")
        if overlap(subject, f"{RETRY_WAIT}.>"):
            mistakes.append(f"the filter {subject} would hand out retries that still wait ({RETRY_WAIT}.>)")
        elif subject != due and overlap(subject, "retry.due.>"):
            mistakes.append(f"the filter {subject} would take other jobs' retries")
    return mistakes


def consumer_name(consumer: Config) -> str:
    """The name of a consumer's config."""
    return str(consumer.get("durable_name") or consumer.get("name") or "")


async def apply(client: Client, declaration: Declaration, *, dry_run: bool = False) -> Changes:
    """Make the server's stream and consumers what the declaration says; only what differs is touched.

    Consumers that are not declared are reported and left alone. Raises `RefusedChange`, before anything is applied,
    when a change would lose messages or is one the server cannot make, `ApiError` when the server says no to one.
    """
    changes = Changes((await _stream_change(client, declaration.stream), *await _consumer_changes(client, declaration)))
    if changes.refusals:
        raise RefusedChange(changes)
    if not dry_run:
        for change in changes.pending:
            await _ask(client, *_request(change))
    return changes


async def _ask(client: Client, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    for _ in range(_TRIES - 1):
        try:
            return await ask(client, verb, body)
        except ApiError:
            raise
        except BrokerUnavailable:
            continue
    return await ask(client, verb, body)


async def _stream_change(client: Client, declared: Config) -> Change:
    actual = await _actual_stream(client)
    if actual is None:
        return Change(Action.CREATE, "stream", STREAM, target=dict(declared))
    fields = stream_changes.differences(declared, actual)
    refusals = [*stream_changes.stream_refusals(fields)]
    for subject in stream_changes.removed_subjects(declared, actual):
        refusals += await _still_held(client, subject, declared["subjects"])
    return stream_changes.update("stream", STREAM, fields, merged(actual, declared), refusals)


async def _still_held(client: Client, removed: str, declared: list[str]) -> list[str]:
    info = await _ask(client, f"STREAM.INFO.{STREAM}", {"subjects_filter": removed})
    counts: dict[str, int] = info["state"].get("subjects") or {}
    held = sum(count for subject, count in counts.items() if not any(covers(kept, subject) for kept in declared))
    if not held:
        return []
    way = f"purge them first if they may go (nats stream purge {STREAM} --subject '{removed}')"
    return [f"stream {STREAM}: {removed} holds {held} message{'s' * (held > 1)} that would get out of reach; {way}"]


async def _consumer_changes(client: Client, declaration: Declaration) -> list[Change]:
    found = {str(info["name"]): info for info in await durable_consumers(client)}
    changes = [_consumer_change(declared, found.get(consumer_name(declared))) for declared in declaration.consumers]
    declared_names = {consumer_name(declared) for declared in declaration.consumers}
    return changes + [Change(Action.UNDECLARED, "consumer", name) for name in found if name not in declared_names]


def _consumer_change(declared: Config, info: Mapping[str, Any] | None) -> Change:
    name = consumer_name(declared)
    if info is None:
        return Change(Action.CREATE, "consumer", name, target=dict(declared))
    actual = info["config"]
    fields = stream_changes.differences(declared, actual)
    refusals = stream_changes.consumer_refusals(name, fields, unread=info["num_pending"] + info["num_ack_pending"])
    return stream_changes.update("consumer", name, fields, merged(actual, declared), refusals)


def _request(change: Change) -> tuple[str, dict[str, Any]]:
    verb = "CREATE" if change.action is Action.CREATE else "UPDATE"
    if change.kind == "stream":
        return f"STREAM.{verb}.{STREAM}", change.target
    # Since 2.9 one verb creates and updates consumers; `action` keeps two appliers from undoing each other unseen.
    return f"CONSUMER.CREATE.{STREAM}.{change.name}", {
        "stream_name": STREAM,
        "config": change.target,
        "action": verb.lower(),
    }


async def _actual_stream(client: Client) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = (await _ask(client, f"STREAM.INFO.{STREAM}"))["config"]
    except ApiError as error:
        if error.code == STREAM_NOT_FOUND:
            return None
        raise
    return config


async def durable_consumers(client: Client) -> list[dict[str, Any]]:
    """The info of every durable consumer of the stream; none where there is no stream.

    Ephemeral ones are left out: they are readers such as `nats stream view` or `keda-jobs dlq ls`.
    """
    found: list[dict[str, Any]] = []
    try:
        while True:
            page = await ask(client, f"CONSUMER.LIST.{STREAM}", {"offset": len(found)})
            found += page["consumers"] or []
            if not page["consumers"] or len(found) >= page["total"]:
                return [info for info in found if info["config"].get("durable_name")]
    except ApiError as error:
        if error.code in (STREAM_NOT_FOUND, CONSUMER_NOT_FOUND):
            return []
        raise
