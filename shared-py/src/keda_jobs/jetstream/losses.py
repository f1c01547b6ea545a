"""Messages that a lower limit of a stream deletes at once, counted before it is applied."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from keda_jobs.domain.subjects import DEAD_LETTER
from keda_jobs.jetstream.api import Info
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import count_since, read_page
from keda_jobs.jetstream.stream_diff import FieldChange, is_lower_limit


async def count_losses(connection: NatsConnection, info: Info, fields: Sequence[FieldChange]) -> tuple[str, ...]:
    """Return one line for each lower limit in `fields`: what it deletes of the stream in `info` at once.

    Raises `BrokerUnavailable`.
    """
    stream = info["config"]["name"]
    return tuple(
        [
            f"stream {stream}: {change} {await _loss(connection, info, change)}"
            for change in fields
            if is_lower_limit(change)
        ]
    )


async def _loss(connection: NatsConnection, info: Info, change: FieldChange) -> str:
    state: dict[str, Any] = info["state"]
    match change.key:
        case "max_age":
            return f"deletes {await _expired(connection, info, change.after)} of {state['messages']} messages"
        case "max_msgs":
            oldest = max(0, state["messages"] - change.after)
            return f"deletes the oldest {oldest} of {state['messages']} messages, dead letters too"
        case "max_bytes":
            oldest = max(0, state["bytes"] - change.after)
            return f"deletes the oldest {oldest} of {state['bytes']} bytes, dead letters too"
        case _:
            return "may delete or refuse messages"


async def _expired(connection: NatsConnection, info: Info, max_age_ns: int) -> int:
    """Count the messages that are older. Dead letters carry `Nats-TTL: never`, and stay."""
    stream = info["config"]["name"]
    oldest = datetime.fromisoformat(info["ts"]) - timedelta(microseconds=max_age_ns // 1000)
    dead = (await read_page(connection, DEAD_LETTER, 1, 1, stream)).count
    dead -= await count_since(connection, DEAD_LETTER, oldest, stream)
    younger = await count_since(connection, ">", oldest, stream)
    # Others may be published meanwhile.
    return max(0, int(info["state"]["messages"]) - younger - dead)
