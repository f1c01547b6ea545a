"""Clients of applications when something is wrong: what their errors say, and that nothing is stored twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from keda_jobs import Event, client
from keda_jobs.client import Client, Receipt
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable, MaybeStored, Misconfigured, NotAllStored, NotStored, Unpublishable
from keda_jobs.jetstream import connection as nats_connection
from keda_jobs.jetstream import sender
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import NatsServer
from stack.streams import apply_streams

USERS = """
accounts {{ APP {{
  jetstream: enabled
  users: [
    {{ user: admin, password: admin }}
    {{ user: shop, password: {password}, permissions: {{
        publish: {{ allow: ["image-download", "unknown"] }}
        subscribe: {{ allow: ["_INBOX_shop.>"] }} }} }} ] }} }}
"""


class ImageDownload(Event, subject="image-download"):
    url: str


class ImageDownloaded(Event, subject="image-downloaded"):
    key: str


class Unknown(Event, subject="unknown"):
    n: int


EVENT = ImageDownload(url="https://example.org/a.jpg")


@pytest.fixture
async def users(tmp_path: Path) -> AsyncIterator[NatsServer]:
    folder = tmp_path / "stack"
    folder.mkdir()
    (folder / "users.conf").write_text(USERS.format(password="first"))
    server = NatsServer(folder, extra='include "users.conf"')
    server.start()
    await apply_streams(server.url.replace("//", "//admin:admin@"))
    yield server
    server.kill()


@pytest.fixture
async def jobs(nats_server: NatsServer) -> AsyncIterator[Client]:
    await apply_streams(nats_server.url)
    async with client.connect(nats_server.url) as jobs:
        yield jobs


async def stored(server: NatsServer, user: str = "") -> int:
    settings = NatsSettings.model_construct(nats_url=server.url.replace("//", f"//{user}"))
    async with connect(settings, name="test", wait=False) as connection:
        return (await connection.jetstream.stream_info(STREAM)).state.messages


async def publish_until_unanswered(jobs: Client) -> tuple[int, MaybeStored]:
    """Publish events to a server that stops, which it may do a moment later. Count those that it confirms."""
    for confirmed in itertools.count():
        try:
            await jobs.publish(EVENT)
        except MaybeStored as error:
            return confirmed, error
    raise AssertionError


async def test_without_the_right_an_event_is_not_stored_and_nobody_waits(
    users: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_connection, "ANSWER_TIMEOUT_S", 3600)
    async with client.connect(users.url, user="shop", password="first") as jobs:
        with pytest.raises(NotStored, match='permissions violation for publish to "image-downloaded"'):
            await jobs.publish(ImageDownloaded(key="a"))
        events = [EVENT, ImageDownloaded(key="a"), *[EVENT] * 200]
        with pytest.raises(NotAllStored, match="of 202 events are stored: NATS refuses image-downloaded") as caught:
            await jobs.publish_many(events)
    outcomes = caught.value.outcomes
    assert isinstance(outcomes[0], Receipt)
    assert isinstance(outcomes[1], NotStored)
    assert await stored(users, "admin:admin@") == sum(isinstance(outcome, Receipt) for outcome in outcomes)
    assert {type(outcome) for outcome in outcomes} <= {Receipt, NotStored}


async def test_a_subject_that_no_stream_takes_is_not_stored(users: NatsServer) -> None:
    async with client.connect(users.url, user="shop", password="first") as jobs:
        with pytest.raises(NotStored, match="no stream takes the subject unknown"):
            await jobs.publish(Unknown(n=1))


async def test_without_an_answer_an_event_may_be_stored_and_is_so_once(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_connection, "ANSWER_TIMEOUT_S", 0.3)
    await apply_streams(nats_server.url)
    async with client.connect(nats_server.url) as jobs:
        nats_server.signal(signal.SIGSTOP)
        monkeypatch.setattr(sender, "GIVE_UP_S", 0.8)
        confirmed, error = await publish_until_unanswered(jobs)
        nats_server.signal(signal.SIGCONT)
        receipt: Receipt | None = None
        while receipt is None:
            with contextlib.suppress(MaybeStored):
                receipt = await jobs.publish(EVENT, id=error.id)
    assert receipt.id == error.id
    assert await stored(nats_server) == confirmed + 1


async def test_without_a_server_an_event_is_not_stored_until_the_server_is_back(
    nats_server: NatsServer, jobs: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    nats_server.kill()
    monkeypatch.setattr(sender, "GIVE_UP_S", 0.3)
    with pytest.raises((NotStored, MaybeStored)) as caught:
        await jobs.publish(EVENT)
    with pytest.raises(NotStored, match="image-download was not sent: NATS at"):
        await jobs.publish(EVENT)
    monkeypatch.undo()
    await asyncio.to_thread(nats_server.start)
    assert (await jobs.publish(EVENT)).sequence == (
        1 if isinstance(caught.value, NotStored) else await stored(nats_server)
    )


async def test_a_login_that_is_refused_is_said_within_seconds(
    users: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "GIVE_UP_S", 3.0)
    with pytest.raises(BrokerUnavailable, match="Authorization Violation"):
        await asyncio.to_thread(client.connect_sync, users.url, user="shop", password="wrong")


async def test_a_password_in_a_file_may_be_replaced(tmp_path: Path, users: NatsServer) -> None:
    secret = tmp_path / "password"
    secret.write_text("first\n")
    async with client.connect(users.url, user="shop", password=secret) as jobs:
        await jobs.publish(EVENT)
        secret.write_text("second\n")
        (tmp_path / "stack/users.conf").write_text(USERS.format(password="second"))
        users.kill()
        await asyncio.to_thread(users.start)
        assert not (await jobs.publish(EVENT)).duplicate


async def test_arguments_that_cannot_be_right_are_one_clear_line(tmp_path: Path) -> None:
    wrong: list[tuple[Any, str]] = [
        ({"user": "shop"}, "NATS_PASSWORD is not set, but NATS_USER is"),
        ({"user": "shop", "password": tmp_path / "gone"}, "password: .* cannot be read: No such file"),
        ({"user": "shop", "password": "a\nb"}, "NATS_PASSWORD: contains a control character"),
        ({"creds": str(tmp_path / "gone")}, "NATS_CREDS: there is no file of that name"),
        ({"pasword": "x"}, "NATS_PASWORD: Extra inputs are not permitted"),
    ]
    for arguments, line in wrong:
        with pytest.raises(Misconfigured, match=line):
            client.connect_sync("nats://127.0.0.1:1", **arguments)
    with pytest.raises(Misconfigured, match="NATS_URL: must be URLs such as"):
        client.connect_sync("http://127.0.0.1:1")


async def test_an_event_carries_the_trace_of_its_request(nats_server: NatsServer) -> None:
    provider = TracerProvider()
    await apply_streams(nats_server.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "get_tracer_provider", lambda: provider)
        plain = await asyncio.to_thread(client.connect_sync, nats_server.url)
        async with client.connect(nats_server.url) as jobs:
            with provider.get_tracer("shop").start_as_current_span("request") as request:
                await jobs.publish(EVENT)
                await asyncio.to_thread(plain.publish, EVENT)
        plain.close()
    trace_id = trace.format_trace_id(request.get_span_context().trace_id)
    settings = NatsSettings.model_construct(nats_url=nats_server.url)
    async with connect(settings, name="test", wait=False) as connection:
        for sequence in (1, 2):
            headers = (await connection.jetstream.get_msg(STREAM, sequence)).headers or {}
            assert headers["traceparent"].split("-")[1] == trace_id


def test_a_client_of_the_parent_process_says_so(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = client.connect_sync(nats_server.url)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(NotStored, match="connect after the fork"):
        jobs.publish(EVENT)
    monkeypatch.undo()
    jobs.close()


async def test_an_event_is_checked_before_the_server_is_waited_for(nats_server: NatsServer, jobs: Client) -> None:
    nats_server.kill()
    with pytest.raises(Unpublishable):
        await jobs.publish(EVENT, id="a b")
