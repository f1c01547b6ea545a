"""Streams in detail: their subjects, and the servers that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from keda_jobs.domain.subjects import (
    DELAY_WAIT,
    DELAYED_STREAM,
    RETRY_STREAM,
    RETRY_WAIT,
    STREAM,
    STREAMS,
    delay_fire_subject,
    fire_subject,
)
from keda_jobs.jetstream.api import Info, request
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import read_page

# NATS takes seconds to list a million subjects, and each waiting message has one.
_LISTED = {STREAM: ">", RETRY_STREAM: fire_subject("*"), DELAYED_STREAM: delay_fire_subject(">")}
_WAITING = {RETRY_STREAM: f"{RETRY_WAIT}.>", DELAYED_STREAM: f"{DELAY_WAIT}.>"}


@dataclass(frozen=True, slots=True)
class Replica:
    """Server that follows the leader of a stream. `seen_s` is the time since it answered."""

    server: str
    behind: int
    is_current: bool
    is_offline: bool
    seen_s: float

    @classmethod
    def from_info(cls, info: Info) -> Self:
        """Read a replica from the stream's info."""
        offline = bool(info.get("offline", False))
        seen_s = info.get("active", 0) / 1e9
        return cls(info["name"], info.get("lag", 0), bool(info["current"]), offline, round(seen_s, 3))


@dataclass(frozen=True, slots=True)
class StreamDetails:
    """Stream with its size, its servers where there are several, and its messages by subject."""

    name: str
    messages: int
    bytes: int
    leader: str
    replicas: tuple[Replica, ...]
    subjects: dict[str, int]


async def read_details(connection: NatsConnection) -> list[StreamDetails]:
    """Read the details of each stream. Raises `StreamMissing`, `BrokerUnavailable`."""
    return [await _read(connection, name) for name in STREAMS]


async def _read(connection: NatsConnection, name: str) -> StreamDetails:
    info = await request(connection, f"STREAM.INFO.{name}", {"subjects_filter": _LISTED[name]})
    state: Mapping[str, Any] = info["state"]
    subjects: dict[str, int] = dict(sorted((state.get("subjects") or {}).items()))
    if waiting := _WAITING.get(name):
        subjects[waiting] = (await read_page(connection, waiting, 1, 1, name)).count
    cluster = info.get("cluster") or {}
    replicas = tuple(map(Replica.from_info, cluster.get("replicas") or ()))
    leader = cluster.get("leader", "") if replicas else ""
    return StreamDetails(name, state["messages"], state["bytes"], leader, replicas, subjects)
