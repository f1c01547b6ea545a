"""`streams.apply` brings the server in line with the declaration, changes nothing else and destroys nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from keda_jobs.jetstream.api import ApiError, request, server_time
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.declaration import Declaration, consumer_name, read_declaration
from keda_jobs.jetstream.reader import count_since, read_page
from keda_jobs.jetstream.streams import Changes, RefusedChange, apply
from keda_jobs.settings import NatsSettings
from stack import NatsServer, until

STREAM = "keda-jobs-events"
RETRY_STREAM = "keda-jobs-retries"
JOBS = Path(__file__).parents[3] / "jobs"
DECLARED = read_declaration(JOBS)
*OTHERS, RETRIES, EVENTS = DECLARED.streams
SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[NatsConnection]:
    async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=True) as opened:
        yield opened


@pytest.fixture
async def applied(connection: NatsConnection) -> NatsConnection:
    await apply(connection, DECLARED)
    return connection


def lines(changes: Changes) -> list[str]:
    return [str(change) for change in changes.items]


def with_stream(**changed: Any) -> Declaration:
    """Change the declared events stream."""
    return replace(DECLARED, streams=(*OTHERS, RETRIES, {**EVENTS, **changed}))


def with_retries(**changed: Any) -> Declaration:
    """Change the declared retries stream."""
    return replace(DECLARED, streams=(*OTHERS, {**RETRIES, **changed}, EVENTS))


def with_consumer(**changed: Any) -> Declaration:
    """Change the declared consumer of image-download."""
    [one] = [consumer for consumer in DECLARED.consumers if consumer_name(consumer) == "image-download-consumer"]
    others = [consumer for consumer in DECLARED.consumers if consumer is not one]
    return replace(DECLARED, consumers=({**one, **changed}, *others))


async def configs(connection: NatsConnection) -> dict[str, Any]:
    streams = [await request(connection, f"STREAM.INFO.{name}") for name in (RETRY_STREAM, STREAM)]
    consumers = (await request(connection, f"CONSUMER.LIST.{STREAM}", {"offset": 0}))["consumers"]
    by_kind = zip(("retries", "stream"), streams, strict=True)
    return {kind: info["config"] for kind, info in by_kind} | {info["name"]: info["config"] for info in consumers}


class Actions:
    """Recorder of the server's advisories about changes of streams and consumers."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def record(self, msg: Msg) -> None:
        event = json.loads(msg.data)
        name = event.get("consumer", event["stream"])
        # The server makes one for each source, some time after the stream.
        if not name.startswith("JS_SRC_"):
            self.seen.append(f"{event['action']} {name}")

    @classmethod
    async def of(cls, connection: NatsConnection) -> Actions:
        instance = cls()
        for kind in ("STREAM", "CONSUMER"):
            for action in ("CREATED", "UPDATED", "DELETED"):
                await connection.client.subscribe(f"$JS.EVENT.ADVISORY.{kind}.{action}.>", cb=instance.record)
        await connection.client.flush()
        return instance


async def test_an_empty_server_gets_everything_declared(connection: NatsConnection) -> None:
    changes = await apply(connection, DECLARED)

    names = [consumer_name(consumer) for consumer in DECLARED.consumers]
    streams = [f"+ stream {stream['name']}" for stream in DECLARED.streams]
    assert lines(changes) == [*streams, *(f"+ consumer {name}" for name in names)]
    found = await configs(connection)
    assert list(found) == ["retries", "stream", *names]
    assert found["stream"]["max_age"] == 14 * DAY_NS
    assert found["image-download-consumer"]["filter_subjects"] == ["image-download", "retry.due.image-download"]


async def test_a_second_apply_changes_nothing(applied: NatsConnection) -> None:
    actions = await Actions.of(applied)

    changes = await apply(applied, DECLARED)
    await applied.client.flush()

    assert changes.pending == ()
    assert {line[0] for line in lines(changes)} == {"="}
    assert actions.seen == []


async def test_only_differences_are_changed_and_shown(applied: NatsConnection) -> None:
    actions = await Actions.of(applied)
    before = await configs(applied)

    changes = await apply(applied, with_consumer(ack_wait=30 * 10**9, max_ack_pending=500))
    await applied.client.flush()

    assert "~ consumer image-download-consumer: ack_wait 1m → 30s, max_ack_pending 1000 → 500" in lines(changes)
    after = await configs(applied)
    assert after.pop("image-download-consumer")["ack_wait"] == 30 * 10**9
    before.pop("image-download-consumer")
    assert after == before
    assert {line.split()[1] for line in actions.seen} <= {"image-download-consumer"}


async def test_the_stream_can_grow(applied: NatsConnection) -> None:
    subjects = [*EVENTS["subjects"], "image-tagged"]

    changes = await apply(applied, with_stream(max_age=30 * DAY_NS, subjects=subjects))

    before = f"[{', '.join(EVENTS['subjects'])}]"
    assert next(line for line in lines(changes) if STREAM in line) == (
        f"~ stream {STREAM}: subjects {before} → {before[:-1]}, image-tagged], max_age 14d → 30d"
    )
    assert (await configs(applied))["stream"]["subjects"] == subjects
    assert (await apply(applied, with_stream(max_age=30 * DAY_NS, subjects=subjects[::-1]))).pending == ()


async def test_a_dry_run_reports_the_same_and_changes_nothing(connection: NatsConnection) -> None:
    foretold = await apply(connection, DECLARED, dry_run=True)
    with pytest.raises(ApiError, match="streams apply"):
        await configs(connection)
    assert lines(foretold) == lines(await apply(connection, DECLARED))

    before = await configs(connection)
    await apply(connection, with_stream(max_age=30 * DAY_NS), dry_run=True)
    assert await configs(connection) == before


async def test_undeclared_keys_keep_the_servers_values(applied: NatsConnection) -> None:
    found = (await configs(applied))["stream"]
    by_hand = {"compression": "s2", "metadata": {**found["metadata"], "owner": "platform"}}
    await request(applied, f"STREAM.UPDATE.{STREAM}", {**found, **by_hand})

    await apply(applied, with_stream(max_age=30 * DAY_NS, metadata={"team": "images"}))

    after = (await configs(applied))["stream"]
    assert (after["compression"], after["max_age"]) == ("s2", 30 * DAY_NS)
    assert (after["metadata"]["owner"], after["metadata"]["team"]) == ("platform", "images")


async def test_an_undeclared_consumer_is_reported_and_kept(applied: NatsConnection) -> None:
    jetstream = applied.jetstream
    await jetstream.pull_subscribe("image-downloaded", durable="by-hand", stream=STREAM)

    changes = await apply(applied, DECLARED)

    assert lines(changes)[-1] == "? consumer by-hand is on the server and not declared; left alone"
    assert "by-hand" in await configs(applied)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"max_age": 7 * DAY_NS}, "max_age 14d → 7d deletes 0 of 0 messages; to do it anyway, pass --allow-loss"),
        ({"max_consumers": 9}, "max_consumers none → 9 may delete or refuse messages; to do it anyway, pass"),
        ({"storage": "memory"}, "storage file → memory cannot be changed in place"),
        ({"retention": "workqueue"}, "retention limits → workqueue cannot be changed in place"),
        ({"retention": "interest"}, "retention limits → interest cannot be changed in place"),
        ({"discard": "new"}, "discard old → new cannot be changed in place"),
        ({"deny_delete": True}, "deny_delete false → true can never be undone"),
        (
            {"sources": EVENTS["sources"][1:]},
            "sources [keda-jobs-retries from 1 retry.fire.* as retry.due.{{wildcard(1)}}",
        ),
    ],
)
async def test_a_destructive_change_of_the_stream_is_refused(
    applied: NatsConnection, changed: dict[str, Any], line: str
) -> None:
    before = await configs(applied)

    for dry_run in (True, False):
        with pytest.raises(RefusedChange) as refused:
            await apply(applied, with_stream(description="new", **changed), dry_run=dry_run)
        assert f"nothing was applied: stream {STREAM}: {line}" in str(refused.value)

    assert await configs(applied) == before, "not even the harmless part may be applied"


@pytest.mark.parametrize(
    ("lower", "deletes", "left"),
    [
        ({"max_age": SECOND_NS, "duplicate_window": SECOND_NS}, "max_age 14d → 1s deletes 3 of 4 messages", 1),
        ({"max_msgs": 1}, "max_msgs none → 1 deletes the oldest 3 of 4 messages, dead letters too", 1),
        ({"max_bytes": 1}, "max_bytes none → 1 deletes the oldest {bytes} of {all} bytes, dead letters too", 0),
    ],
    ids=["max_age", "max_msgs", "max_bytes"],
)
async def test_a_lower_limit_says_what_it_deletes_and_is_applied_where_that_is_allowed(
    applied: NatsConnection, lower: dict[str, Any], deletes: str, left: int
) -> None:
    await applied.jetstream.publish("dead-letter", b"{}", headers={"Nats-TTL": "never"})
    for _ in range(3):
        await applied.jetstream.publish("image-download", b"{}")
    info = await request(applied, f"STREAM.INFO.{STREAM}")
    deletes = deletes.format(bytes=info["state"]["bytes"] - 1, all=info["state"]["bytes"])
    newest = datetime.fromisoformat(info["state"]["last_ts"])

    async def all_older_than_a_second() -> bool:
        return await server_time(applied) > newest + timedelta(seconds=1)

    await until(all_older_than_a_second)
    with pytest.raises(RefusedChange) as refused:
        await apply(applied, with_stream(**lower))
    assert str(refused.value).endswith(f"stream {STREAM}: {deletes}; to do it anyway, pass --allow-loss")
    assert (await apply(applied, with_stream(**lower), dry_run=True, allow_loss=True)).losses
    assert await messages(applied) == 4

    await apply(applied, with_stream(**lower), allow_loss=True)
    await until(lambda: has_messages(applied, left))


async def test_messages_are_counted_from_a_moment_on(applied: NatsConnection) -> None:
    for _ in range(3):
        await applied.jetstream.publish("image-download", b"{}")
    second = (await read_page(applied, ">", 2, 1)).messages[0].stored_at

    assert await count_since(applied, ">", second, STREAM) == 2
    assert await count_since(applied, "dead-letter", second, STREAM) == 0
    assert await count_since(applied, ">", second + timedelta(days=1), STREAM) == 0


async def messages(connection: NatsConnection) -> int:
    return int((await request(connection, f"STREAM.INFO.{STREAM}"))["state"]["messages"])


async def has_messages(connection: NatsConnection, number: int) -> bool:
    return await messages(connection) == number


async def test_what_can_never_be_undone_is_refused_although_a_loss_is_allowed(applied: NatsConnection) -> None:
    with pytest.raises(RefusedChange, match="deny_delete false → true can never be undone"):
        await apply(applied, with_stream(max_msgs=5, deny_delete=True), allow_loss=True)


async def test_a_subject_that_holds_messages_cannot_be_removed(applied: NatsConnection) -> None:
    await applied.jetstream.publish("image-downloaded", b"{}")
    fewer = with_stream(subjects=["image-download", "dead-letter"])
    alone = replace(fewer, consumers=DECLARED.consumers[:1])

    with pytest.raises(RefusedChange, match=r"image-downloaded holds 1 message .* run nats stream purge"):
        await apply(applied, alone)

    await request(applied, f"STREAM.PURGE.{STREAM}", {"filter": "image-downloaded"})
    await apply(applied, alone)
    assert "image-downloaded" not in (await configs(applied))["stream"]["subjects"]


async def test_a_job_is_removed_with_the_steps_of_day_two(applied: NatsConnection) -> None:
    gone, subject = "image-resize", "image-downloaded"
    await applied.jetstream.publish(subject, b"{}")
    await applied.jetstream.publish(f"retry.wait.{gone}.1", b"{}")
    left = [consumer for consumer in DECLARED.consumers if consumer_name(consumer) != f"{gone}-consumer"]
    without = with_stream(subjects=[one for one in EVENTS["subjects"] if one != subject])
    without = replace(without, consumers=tuple(left))

    await request(applied, f"CONSUMER.DELETE.{STREAM}.{gone}-consumer")
    await request(applied, f"STREAM.PURGE.{STREAM}", {"filter": subject})
    await request(applied, f"STREAM.PURGE.{RETRY_STREAM}", {"filter": f"retry.wait.{gone}.*"})
    await apply(applied, without)

    assert set(await configs(applied)) == {"retries", "stream", *map(consumer_name, left)}
    assert [(await read_page(applied, ">", 1, 1, name)).count for name in (STREAM, RETRY_STREAM)] == [0, 0]
    assert (await apply(applied, without)).pending == ()


async def test_a_subject_may_be_replaced_by_subjects_that_cover_its_messages(applied: NatsConnection) -> None:
    await applied.jetstream.publish("retry.wait.image-download.1", b"{}")

    with pytest.raises(RefusedChange, match=r"stream keda-jobs-retries: retry\.wait\.> holds 1 message"):
        await apply(applied, with_retries(subjects=["retry.wait.image-resize.*", "retry.fire.*"]))
    await apply(applied, with_retries(subjects=["retry.wait.*.*", "retry.fire.*"]))


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"max_age": 7 * DAY_NS}, "max_age none → 7d deletes 0 of 0 messages"),
        ({"retention": "limits"}, "retention workqueue → limits cannot be changed in place"),
        ({"allow_msg_schedules": False}, "allow_msg_schedules true → false cannot be changed in place"),
    ],
)
async def test_a_destructive_change_of_the_retries_is_refused_too(
    applied: NatsConnection, changed: dict[str, Any], line: str
) -> None:
    before = await configs(applied)

    with pytest.raises(RefusedChange) as refused:
        await apply(applied, replace(with_retries(**changed), consumers=()))

    assert f"stream {RETRY_STREAM}: {line}" in str(refused.value)
    assert await configs(applied) == before


@pytest.mark.parametrize("declaration", [with_stream, with_retries])
@pytest.mark.parametrize("exists", [False, True], ids=["new", "existing"])
async def test_a_size_limit_that_would_refuse_a_dead_letter_is_refused(
    connection: NatsConnection, declaration: Callable[..., Declaration], exists: bool
) -> None:
    if exists:
        await apply(connection, DECLARED)

    largest = 2**20 + 2**16
    with pytest.raises(RefusedChange, match=f"max_msg_size {largest - 1} is less than the {largest} bytes"):
        await apply(connection, declaration(max_msg_size=largest - 1))
    await apply(connection, declaration(max_msg_size=largest))


async def test_the_single_stream_of_former_versions_is_refused_with_the_way_out(connection: NatsConnection) -> None:
    former = {**EVENTS, "subjects": [*EVENTS["subjects"], "retry.>"], "sources": []}
    former |= {"allow_msg_schedules": True, "allow_rollup_hdrs": True}
    await request(connection, f"STREAM.CREATE.{STREAM}", former)
    await connection.jetstream.publish("retry.wait.image-download.1", b"{}")

    with pytest.raises(RefusedChange) as refused:
        await apply(connection, DECLARED)

    assert str(refused.value) == (
        f"nothing was applied: stream {STREAM}: allow_msg_schedules true → false cannot be changed in place: "
        "docs/streams.md says how to move its messages to a new stream"
    )
    with pytest.raises(ApiError, match=f"no stream {RETRY_STREAM}"):
        await request(connection, f"STREAM.INFO.{RETRY_STREAM}")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"deliver_policy": "new"}, "deliver_policy all → new cannot be changed in place"),
        ({"ack_policy": "none"}, "ack_policy explicit → none cannot be changed in place"),
        ({"replay_policy": "original"}, "replay_policy instant → original cannot be changed in place"),
        ({"max_waiting": 64}, "max_waiting 512 → 64 cannot be changed in place"),
        ({"mem_storage": True}, "mem_storage none → true cannot be changed in place"),
    ],
)
async def test_a_change_that_needs_a_new_consumer_is_refused_with_instructions(
    applied: NatsConnection, changed: dict[str, Any], line: str
) -> None:
    before = await configs(applied)

    with pytest.raises(RefusedChange) as refused:
        await apply(applied, with_consumer(**changed))

    assert f"consumer image-download-consumer: {line}" in str(refused.value)
    assert f"nats consumer rm {STREAM} image-download-consumer" in str(refused.value)
    assert await configs(applied) == before


async def test_a_filter_may_be_removed_only_when_nothing_is_unread(applied: NatsConnection) -> None:
    more = ["image-download", "image-downloaded", "retry.due.image-download"]
    await apply(applied, with_consumer(filter_subjects=more))
    await applied.jetstream.publish("image-downloaded", b"{}")

    with pytest.raises(RefusedChange, match=r"would leave messages unread \(1 waiting or in flight\)"):
        await apply(applied, DECLARED)

    pull = await applied.jetstream.pull_subscribe_bind(consumer="image-download-consumer", stream=STREAM)
    for msg in await pull.fetch(1):
        await msg.ack_sync()
    await apply(applied, DECLARED)
    assert (await configs(applied))["image-download-consumer"]["filter_subjects"] == more[::2]


async def test_a_filter_may_be_added(applied: NatsConnection) -> None:
    await applied.jetstream.publish("image-download", b"{}")

    changes = await apply(
        applied, with_consumer(filter_subjects=["image-download", "image-downloaded", "retry.due.image-download"])
    )

    assert [change.name for change in changes.pending] == ["image-download-consumer"]


@pytest.mark.parametrize(
    "declaration",
    [
        with_stream(num_replicas=3),
        with_stream(max_agee=1),
        with_consumer(max_ack_pendin=1),
    ],
)
async def test_a_refusal_by_the_server_is_one_line(connection: NatsConnection, declaration: Declaration) -> None:
    with pytest.raises(ApiError, match=r"^NATS refuses \w+\.CREATE\.[\w.-]+: [^\n]+$"):
        await apply(connection, declaration)


async def test_two_concurrent_applies_both_succeed(connection: NatsConnection, nats_server: NatsServer) -> None:
    # Two pods of the setup Job may run at the same time.
    other = await nats.connect(nats_server.url)
    try:
        await asyncio.gather(apply(connection, DECLARED), apply(NatsConnection(other), DECLARED))
    finally:
        await other.close()
    assert (await apply(connection, DECLARED)).pending == ()
