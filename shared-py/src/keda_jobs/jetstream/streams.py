"""Streams, consumers and schedules on the server: compared with the declaration, and brought in line by `apply`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from keda_jobs.domain.subjects import DELAYED_STREAM, STREAM, covers
from keda_jobs.errors import BrokerUnavailable, Misconfigured
from keda_jobs.jetstream import stream_diff
from keda_jobs.jetstream.api import ApiError, Info, StreamMissing, durable_consumers, request
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.declaration import Config, Declaration, consumer_name
from keda_jobs.jetstream.declared_schedules import ScheduleChange, make_schedule, schedule_changes
from keda_jobs.jetstream.losses import count_losses
from keda_jobs.jetstream.stream_diff import Action, Change, merge

# In a cluster the replicas of a new stream or consumer elect a leader first. Until then nobody answers, which may take
# longer than the time limit of a request. To repeat it is harmless.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes that `apply` found and made: streams, then consumers, then schedules."""

    items: tuple[Change, ...]

    @property
    def refusals(self) -> tuple[str, ...]:
        """One line for each destructive change: its loss, and the remedy."""
        return tuple(line for change in self.items for line in change.refusals)

    @property
    def losses(self) -> tuple[str, ...]:
        """One line for each lower limit, with what it deletes."""
        return tuple(line for change in self.items for line in change.losses)

    @property
    def pending(self) -> tuple[Change, ...]:
        """Changes that create, update or cancel."""
        return tuple(change for change in self.items if change.action not in (Action.SAME, Action.UNDECLARED))


class RefusedChange(Misconfigured):
    """The declaration asks for a destructive change. Nothing was applied."""

    def __init__(self, changes: Changes) -> None:
        # What can never be made comes alone, since --allow-loss would not help.
        agree = (*changes.losses, "to do it anyway, pass --allow-loss") if changes.losses else ()
        super().__init__("nothing was applied: " + "; ".join(changes.refusals or agree))
        self.changes = changes


async def apply(
    connection: NatsConnection, declaration: Declaration, *, dry_run: bool = False, allow_loss: bool = False
) -> Changes:
    """Bring the server's streams, consumers and schedules in line with the declaration. Change only what differs.

    Undeclared consumers are reported and left alone. Schedules that a job.toml no longer declares are cancelled, and
    those of people, applications and handlers left alone. Raises `RefusedChange`, before anything is applied, when a
    change would lose messages or the server cannot make it, and `BrokerUnavailable` when the server refuses one. With
    `allow_loss` a lower limit may delete messages.
    """
    streams = [await _stream_change(connection, declared) for declared in declaration.streams]
    is_new = any(change.name == DELAYED_STREAM and change.action is Action.CREATE for change in streams)
    schedules = await schedule_changes(connection, declaration.schedules, is_new=is_new)
    changes = Changes((*streams, *await _consumer_changes(connection, declaration), *schedules))
    if changes.refusals or (changes.losses and not allow_loss):
        raise RefusedChange(changes)
    if not dry_run:
        for change in changes.pending:
            if isinstance(change, ScheduleChange):
                await make_schedule(connection, change)
            else:
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
    name = str(declared["name"])
    refusals = stream_diff.size_refusals(declared, connection.max_payload)
    try:
        info = await _repeat_request(connection, f"STREAM.INFO.{name}")
    except StreamMissing:
        return Change(Action.CREATE, "stream", name, refusals=tuple(refusals), target=dict(declared))
    actual = info["config"]
    fields = stream_diff.differences(declared, actual)
    refusals += stream_diff.stream_refusals(name, fields)
    # Where the stream has to be made anew, it would be wrong to advise a purge.
    for subject in stream_diff.removed_subjects(declared, actual) if not refusals else ():
        refusals += await _still_held(connection, name, subject, declared["subjects"])
    change = stream_diff.update("stream", name, fields, merge(actual, declared), refusals)
    return replace(change, losses=await count_losses(connection, info, fields))


async def _still_held(connection: NatsConnection, stream: str, removed: str, declared: list[str]) -> list[str]:
    info = await _repeat_request(connection, f"STREAM.INFO.{stream}", {"subjects_filter": removed})
    counts: dict[str, int] = info["state"].get("subjects") or {}
    held = sum(count for subject, count in counts.items() if not any(covers(kept, subject) for kept in declared))
    if not held:
        return []
    remedy = f"to delete them, run nats stream purge {stream} --subject '{removed}' first"
    return [f"stream {stream}: {removed} holds {held} message{'s' * (held > 1)} that no job could reach; {remedy}"]


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
        return f"STREAM.{verb}.{change.name}", change.target
    # Since 2.9 one verb creates and updates consumers. `action` keeps two appliers from overwriting each other.
    return f"CONSUMER.CREATE.{STREAM}.{change.name}", {
        "stream_name": STREAM,
        "config": change.target,
        "action": verb.lower(),
    }
