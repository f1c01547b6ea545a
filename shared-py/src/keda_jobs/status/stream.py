"""The stream and its consumers in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keda_jobs.jetstream.connection import Client
from keda_jobs.jetstream.reader import moment, page
from keda_jobs.jetstream.stream_diff import normal


@dataclass(frozen=True, slots=True)
class StreamState:
    """The stream's size; the times are empty where it holds nothing."""

    messages: int
    bytes: int
    first_time: datetime | None
    last_time: datetime | None


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """A durable consumer; `lag` is what KEDA scales on."""

    name: str
    num_pending: int
    num_ack_pending: int
    num_waiting: int
    num_redelivered: int

    @property
    def lag(self) -> int:
        """Messages not yet acknowledged."""
        return self.num_pending + self.num_ack_pending

    @property
    def job(self) -> str:
        """The job that it is of."""
        return self.name.removesuffix("-consumer")


def stream_state(info: Mapping[str, Any]) -> StreamState:
    """What `stream_info` says of its size."""
    state = info["state"]
    held = state["messages"] > 0
    first, last = (moment(state[key]) if held else None for key in ("first_ts", "last_ts"))
    return StreamState(state["messages"], state["bytes"], first, last)


def consumer_state(info: Mapping[str, Any]) -> ConsumerState:
    """What a consumer's info says of it."""
    keys = ("num_pending", "num_ack_pending", "num_waiting", "num_redelivered")
    return ConsumerState(info["name"], *(int(info[key]) for key in keys))


async def oldest_unacked(client: Client, info: Mapping[str, Any]) -> datetime | None:
    """When the oldest message was stored that this consumer has not acked; None where it has none.

    Raises `BrokerUnavailable`.
    """
    if not consumer_state(info).lag:
        return None
    first = int(info["ack_floor"]["stream_seq"]) + 1
    subjects = normal(info["config"]).get("filter_subjects") or [">"]
    found = [one for subject in subjects for one in (await page(client, subject, first, 1)).messages]
    return min((one.stored_at for one in found), default=None)
