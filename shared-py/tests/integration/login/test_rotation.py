"""Passwords and keys that change while a job runs: it reads the files again, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nats.js.api import ConsumerConfig, ConsumerInfo, StreamConfig

from keda_jobs.domain.event import Event
from keda_jobs.domain.message import Message
from keda_jobs.domain.subjects import DEAD_LETTER, STREAM
from keda_jobs.errors import StoreUnavailable
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.retrying import RetryingBucket
from keda_jobs.event.runner import Runner
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.metrics import JobRegistry, StoreMetrics
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.trouble import Part
from keda_jobs.settings import JobSettings, NatsSettings, StoreSettings, load_settings
from keda_jobs.storage import S3Bucket, S3Timeouts
from stack import NatsServer, S3Server, until
from stack.servers import ACCESS_KEY, SECRET_KEY

OLD, NEW = ("greeter", "old-password"), ("greeter.2", "new-password")
RIGHTS = f"""
    publish: {{ allow: ["$JS.API.CONSUMER.MSG.NEXT.{STREAM}.greeter-consumer", "$JS.ACK.{STREAM}.greeter-consumer.>"] }}
    subscribe: {{ allow: ["_INBOX_greeter.>"] }}"""
EVENTS = 300


class Greet(Event, subject="greet"):
    n: int


async def holds(condition: Callable[[], object]) -> object:
    return condition()


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of files that this process reads its settings from."""
    for name in (*NatsSettings.model_fields, *StoreSettings.model_fields):
        monkeypatch.delenv(name.upper(), raising=False)
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv("SECRETS_DIR", str(folder))
    return folder


def write(folder: Path, **values: str) -> None:
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n")


@dataclass
class Users:
    """NATS server, and the logins of the job that it accepts."""

    server: NatsServer
    file: Path

    async def accept(self, *logins: tuple[str, str]) -> None:
        users = "".join(f'{{ user: "{u}", password: "{p}", permissions: {{ {RIGHTS} }} }}\n' for u, p in logins)
        self.file.write_text(
            f"accounts {{ APP {{ jetstream: enabled, users: [ {{ user: admin, password: admin }}\n{users} ] }} }}"
        )
        await asyncio.to_thread(self.server.reload if self.server.alive else self.server.start)


@pytest.fixture
def users(tmp_path: Path) -> Iterator[Users]:
    folder = tmp_path / "stack"
    folder.mkdir()
    server = NatsServer(folder, extra='include "users.conf"')
    yield Users(server, folder / "users.conf")
    server.kill()


@dataclass
class Job:
    """Running loop of an event job, and what the admin sees of it."""

    admin: NatsConnection
    nats: Part
    greeted: list[int] = field(default_factory=list)

    async def publish(self, numbers: range) -> None:
        for n in numbers:
            await self.admin.jetstream.publish("greet", f'{{"n": {n}}}'.encode())

    async def consumer(self) -> ConsumerInfo:
        found: ConsumerInfo = await self.admin.jetstream.consumer_info(STREAM, "greeter-consumer")
        return found

    async def is_settled(self) -> bool:
        found = await self.consumer()
        return (found.num_pending, found.num_ack_pending) == (0, 0)


@asynccontextmanager
async def greeting(users: Users) -> AsyncIterator[Job]:
    """Run an event job that reads its login from files."""
    admin = NatsSettings(nats_url=users.server.url, nats_user="admin", nats_password="admin")
    async with connect(admin, name="admin", wait=False) as connection:
        await connection.jetstream.add_stream(StreamConfig(name=STREAM, subjects=["greet", DEAD_LETTER]))
        await connection.jetstream.add_consumer(
            STREAM, ConsumerConfig(durable_name="greeter-consumer", filter_subjects=["greet"], ack_wait=20)
        )
        job = Job(connection, Part())

        async def greet(event: Greet, _message: Message) -> None:
            job.greeted.append(event.n)

        settings = load_settings(JobSettings, nats_url=users.server.url, ack_wait_s=20)
        process = Process("greeter", settings)
        async with connect(settings, name="greeter", wait=True, state=process.trouble.watch(job.nats)) as own:
            bound = await JetStreamBroker.bind(own, "greeter-consumer", fetch_s=0.5)
            runner = Runner(Greet, greet, lambda message: message, 10)
            running = asyncio.create_task(Consumer(process, bound, runner, EventMetrics("greeter", settings)).run())
            try:
                yield job
            finally:
                process.shutdown.request()
                await running


async def change_with_two_at_a_time(users: Users, secrets: Path) -> None:
    await users.accept(OLD, NEW)
    write(secrets, NATS_USER=NEW[0], NATS_PASSWORD=NEW[1])
    await users.accept(NEW)


async def change_the_password_first(users: Users, secrets: Path) -> None:
    """Change it at the server, and in the file when the job has been refused."""
    refusals = _refusals(users)
    await users.accept((OLD[0], "another-password"))
    await until(lambda: holds(lambda: _refusals(users) > refusals + 1))
    write(secrets, NATS_PASSWORD="another-password")


def _refusals(users: Users) -> int:
    return users.server.log.read_text().count("authentication error")


@pytest.mark.parametrize("change", [change_with_two_at_a_time, change_the_password_first])
async def test_an_event_job_goes_on_with_the_new_password_and_one_fetch_at_most_is_delivered_again(
    users: Users, secrets: Path, change: Callable[[Users, Path], Awaitable[None]]
) -> None:
    await users.accept(OLD)
    write(secrets, NATS_USER=OLD[0], NATS_PASSWORD=OLD[1])
    async with greeting(users) as job:
        publishing = asyncio.create_task(job.publish(range(EVENTS)))
        await until(lambda: holds(lambda: len(job.greeted) > EVENTS // 10))
        await change(users, secrets)
        await publishing
        await job.publish(range(EVENTS, EVENTS + 10))
        await until(job.is_settled)
        assert set(job.greeted) == set(range(EVENTS + 10))
        delivered = (await job.consumer()).delivered
        assert delivered is not None
        # The server may have sent messages on the connection that it ended.
        assert delivered.consumer_seq <= EVENTS + 10 + JobSettings().concurrency
        assert not job.nats.active


async def test_a_refused_login_is_trouble_until_the_file_has_the_right_password(users: Users, secrets: Path) -> None:
    await users.accept(OLD)
    write(secrets, NATS_USER=OLD[0], NATS_PASSWORD="of-tomorrow")
    state = Part()

    async def is_in_trouble_when_connected() -> bool:
        settings = load_settings(NatsSettings, nats_url=users.server.url)
        async with connect(settings, name="greeter", wait=True, state=state):
            return state.active

    connecting = asyncio.create_task(is_in_trouble_when_connected())
    assert "Authorization Violation" in str(
        await until(lambda: holds(lambda: "Authorization" in (state.reason or "") and state.reason))
    )
    write(secrets, NATS_PASSWORD=OLD[1])
    assert not await connecting


class KeyedS3Server(S3Server):
    """S3 server whose key can be replaced."""

    keys = f"{ACCESS_KEY},{SECRET_KEY}"

    def process_environment(self) -> dict[str, str]:
        return super().process_environment() | {"RCLONE_AUTH_KEY": f'"{self.keys}"'}


async def test_a_put_waits_for_the_stores_new_keys_and_is_stored(tmp_path: Path, secrets: Path) -> None:
    server = KeyedS3Server(tmp_path / "stack")
    await asyncio.to_thread(server.start)
    write(secrets, **server.environment())
    backoff, metrics = Backoff(0.5), StoreMetrics(JobRegistry("pictures"))
    try:
        async with S3Bucket(load_settings(StoreSettings), 2, metrics, S3Timeouts(attempts=2)) as bucket:
            store = RetryingBucket(bucket, backoff, Shutdown(0))
            await store.put("images/1", b"1", content_type="image/png")
            await asyncio.to_thread(server.kill)
            server.keys = "another-access-key,another-secret-key"
            await asyncio.to_thread(server.start)
            with pytest.raises(StoreUnavailable, match="refuses the credentials"):
                await bucket.check()
            putting = asyncio.create_task(store.put("images/2", b"2", content_type="image/png"))
            await until(lambda: holds(lambda: backoff.active))
            write(secrets, R2_ACCESS_KEY_ID="another-access-key", R2_SECRET_ACCESS_KEY="another-secret-key")
            await putting
            assert [await store.get(f"images/{n}") for n in (1, 2)] == [b"1", b"2"]
    finally:
        server.kill()
