"""What a login can do to messages of others, with the very rights that the setup gives it."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from nats.aio.client import Client
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.headers import Header
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.domain.subjects import DELAYED_STREAM, STREAM, STREAMS, due_subject
from keda_jobs.jetstream.api import durable_consumers
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import read_page
from stack import until

from .conftest import Login
from .secrets_tool import JOBS

OPEN = "image-download"
"""Subject that the publisher may publish."""

AT = (datetime.now(UTC) - timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
NAMES = (
    "Nats-Rollup", "Nats-Schedule", "Nats-Schedule-Target", "Nats-Schedule-Source", "Nats-Schedule-TTL",
    "Nats-Schedule-Rollup", "Nats-Scheduler", "Nats-Schedule-Next", "Nats-TTL", "Nats-Marker-Reason", "Nats-Incr",
    "Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit", "Nats-Expected-Stream", "Nats-Expected-Last-Sequence",
    "Nats-Expected-Last-Subject-Sequence", "Nats-Expected-Last-Msg-Id", "Nats-Stream-Source", "Nats-Sequence",
    "Nats-Subject", "Nats-Time-Stamp", "Nats-Required-Api-Level", "Nats-Msg-Id", "Keda-Jobs-Id", "Keda-Jobs-Subject",
)  # fmt: skip
VALUES = (
    "all",
    "sub",
    "purge",
    "1",
    "1s",
    "never",
    f"@at {AT}",
    "@every 1s",
    "dead-letter",
    "retry.fire.image-download",
)
TOGETHER: tuple[dict[str, str], ...] = (
    {"Nats-Schedule": f"@at {AT}", "Nats-Schedule-Target": "dead-letter"},
    {"Nats-Schedule": f"@at {AT}", "Nats-Schedule-Target": "retry.due.image-download"},
    {"Nats-Schedule": f"@at {AT}", "Nats-Schedule-Target": OPEN, "Nats-Schedule-Source": "dead-letter"},
    {"Nats-Scheduler": "dead-letter", "Nats-Schedule-Next": "purge"},
    {"Nats-Scheduler": OPEN, "Nats-Schedule-Next": "purge"},
    {"Nats-Scheduler": "image-downloaded", "Nats-Schedule-Next": "purge", "Nats-Rollup": "sub"},
    {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
    {"Nats-TTL": "1s", "Nats-Marker-Reason": "MaxAge", "Nats-Rollup": "all"},
)


class Stored(NamedTuple):
    stream: str
    sequence: int
    subject: str
    data: bytes


async def everything(admin: NatsConnection) -> set[Stored]:
    found: set[Stored] = set()
    for stream in STREAMS:
        position = 1
        while (page := await read_page(admin, ">", position, 100, stream)).messages:
            found |= {Stored(stream, one.sequence, one.subject, one.data) for one in page.messages}
            position = page.messages[-1].sequence + 1
    return found


def waiting_retry(identity: Identity, delay_s: float) -> Outgoing:
    now = datetime.now(UTC)
    return scheduled_retry(Message(OPEN, b"{}", {}, identity, 1, 1, now), OPEN, delay_s, now)


async def fill(admin: NatsConnection) -> set[Stored]:
    """Store what belongs to others: a backlog, a dead letter and a waiting retry."""
    for outgoing in (
        *(
            Outgoing(subject, b"of others", f"{subject} {n}")
            for subject in (OPEN, "image-downloaded")
            for n in range(3)
        ),
        Outgoing("dead-letter", b"of others", "dead", {"Nats-TTL": "never"}),
        waiting_retry(Identity(OPEN, 1, 1), 3600),
    ):
        await admin.jetstream.publish(outgoing.subject, outgoing.data, headers=outgoing.wire_headers(10**6))
    return await everything(admin)


async def attempt(client: Client, subject: str, headers: dict[str, str]) -> None:
    """Publish, whatever the server answers."""
    with contextlib.suppress(APIError, NatsTimeoutError):
        await client.jetstream(timeout=2).publish(subject, b"mine", headers=headers)


@pytest.mark.parametrize(("user", "subject"), [("publisher", OPEN), ("image-resize", "dead-letter")])
async def test_no_header_touches_a_message_of_others(login: Login, user: str, subject: str) -> None:
    async with login("admin") as client, login(user) as attacker:
        admin = NatsConnection(client)
        before = await fill(admin)
        alone = ({name: value} for name, value in itertools.product(NAMES, VALUES))
        for headers in (*alone, *TOGETHER):
            await attempt(attacker, subject, headers)
        after = await everything(admin)
        assert before <= after
        assert {(one.stream, one.subject, one.data) for one in after - before} == {(STREAM, subject, b"mine")}


REPLIES = [
    *(f"$JS.API.STREAM.{verb}.{stream}" for verb in ("PURGE", "DELETE", "MSG.DELETE") for stream in STREAMS),
    *(f"$JS.API.CONSUMER.DELETE.{STREAM}.{job}-consumer" for job in JOBS),
    *(f"$JS.ACK.{STREAM}.{job}-consumer.1.1.1.1.1" for job in JOBS),
    "$SYS.REQ.USER.INFO",
]
# The sender knows job and number of an event, and not the server's time.
STORING = [
    "dead-letter",
    "retry.due.image-download",
    "retry.fire.image-download",
    *(f"retry.wait.image-download.image-download-{known}" for known in ("2", "2-1", f"2-{time.time_ns()}")),
]


async def test_where_the_server_confirms_a_publish_it_takes_no_orders(login: Login) -> None:
    """NATS does not check the reply subject of a publish. Its confirmation is stored where a stream takes it."""
    async with login("admin") as client, login("publisher") as publisher:
        admin = NatsConnection(client)
        before = await fill(admin)
        retry = waiting_retry(Identity(OPEN, 2, time.time_ns()), 2)
        await client.jetstream().publish(retry.subject, retry.data, headers=retry.wire_headers(10**6))
        for reply in (*REPLIES, *STORING):
            await publisher.publish(OPEN, b"mine", reply=reply)
        await publisher.flush()

        async def due() -> bool:
            arrived = (await read_page(admin, due_subject(OPEN), 1, 100)).messages
            return {one.headers.get(Header.ID) for one in arrived} == {None, retry.headers[Header.ID]}

        await until(due)
        after = await everything(admin)
        assert before <= after
        confirmations = {one for one in after - before if one.data not in (b"mine", retry.data)}
        assert all(one.data.startswith(b'{"stream":"keda-jobs-events"') for one in confirmations)
        assert {one.subject for one in confirmations} <= {*STORING}
        assert {info["name"] for info in await durable_consumers(admin)} == {f"{job}-consumer" for job in JOBS}


def due_now(target: str, **extra: str) -> dict[str, str]:
    """Build the headers of a schedule that is due."""
    return {"Nats-Schedule": f"@at {AT}", "Nats-Schedule-Target": target, **extra}


async def test_a_scheduler_reaches_events_and_nothing_else(login: Login) -> None:
    """Whatever it schedules, what others have in the streams of events and retries stays as it is."""
    targets = ("retry.due.image-download", "dead-letter", "retry.fire.image-download", "$JS.API.STREAM.NAMES", "x")
    async with login("admin") as client, login("scheduler") as attacker:
        admin = NatsConnection(client)
        before = await fill(admin)
        for number, target in enumerate(targets):
            await attempt(attacker, f"delay.wait.sent.a{number}", due_now(target))
            await attempt(attacker, f"delay.wait.sent.b{number}", due_now(f"delay.fire.{target}"))
        rolled_up = {"Nats-Schedule-Rollup": "sub", "Nats-Schedule-TTL": "1s", "Nats-Rollup": "sub"}
        await attempt(attacker, "delay.wait.sent.c", due_now(f"delay.fire.{OPEN}", **rolled_up))
        await attempt(attacker, "delay.wait.sent.d", due_now(f"delay.fire.{OPEN}"))

        async def arrived() -> set[Stored]:
            return {one for one in await everything(admin) - before if one.stream == STREAM}

        await until(lambda: has_come(arrived, 2))
        after = await everything(admin)
        assert before <= after
        assert {(one.subject, one.data) for one in after - before if one.stream != DELAYED_STREAM} == {(OPEN, b"mine")}


async def test_a_scheduler_can_delete_all_that_waits_to_be_published(login: Login) -> None:
    """NATS checks the subject of a publish and not its headers. SECURITY.md says so."""
    async with login("admin") as client, login("scheduler") as attacker:
        admin = NatsConnection(client)
        before = await fill(admin)
        await admin.jetstream.publish(
            "delay.wait.job.image-resize.1",
            b"of others",
            headers={"Nats-Schedule": "@every 1h", "Nats-Schedule-Target": f"delay.fire.{OPEN}"},
        )
        await attempt(attacker, "delay.wait.sent.1", {"Nats-Rollup": "all"})
        after = await everything(admin)
        assert before <= after
        assert [one.subject for one in after - before] == ["delay.wait.sent.1"]


async def has_come(arrived: Callable[[], Awaitable[set[Stored]]], number: int) -> bool:
    return len(await arrived()) >= number
