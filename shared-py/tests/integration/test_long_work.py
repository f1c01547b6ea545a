"""Long work on a real server: what its pods report, and how it is cancelled."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from typer.testing import CliRunner

from keda_jobs.cli import app, cancel
from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.domain.event import Event
from keda_jobs.domain.subjects import DEAD_LETTER, LONG_STREAM
from keda_jobs.event.handler import Handler
from keda_jobs.jetstream.api import durable_consumers, request, stream_info
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.dead_letters import parse_stored
from keda_jobs.jetstream.reader import read_all
from keda_jobs.jetstream.streams import apply
from keda_jobs.long import LongContext, LongSettings, watch
from keda_jobs.long.main import work
from keda_jobs.runtime.process import Process
from keda_jobs.settings import NatsSettings
from keda_jobs.status.long_work import LongWork, read_long_work
from stack import NatsServer, until
from stack.streams import declaration_for

JOB = "encoder"


class Encode(Event, subject="encode"):
    n: int


class World:
    """Server with one long job's consumer, and runs of the job in this process."""

    def __init__(self, url: str, connection: NatsConnection) -> None:
        self.url = url
        self.connection = connection

    async def publish(self) -> int:
        """Publish an event, and return its number."""
        return (await self.connection.jetstream.publish("encode", b'{"n": 1}')).seq

    def start(self, handler: Handler, **changes: Any) -> asyncio.Task[None]:
        """Start a process of the job."""
        given: dict[str, Any] = {"nats_url": self.url, "http_port": 0, "retry_step_s": 0.1} | changes
        settings = LongSettings(**given)
        return asyncio.create_task(work(Process(JOB, settings), handler, None))

    async def keda_jobs(self, *command: str) -> tuple[int, Any]:
        """Run a command of the CLI, and return its exit code and its JSON."""
        runner = CliRunner(env={"NATS_URL": self.url, "USER": "ada"})
        ended = await asyncio.to_thread(runner.invoke, app, [*command, "--json"])
        return ended.exit_code, json.loads(ended.stdout) if ended.stdout else ended.stderr

    async def running(self) -> tuple[LongWork, ...]:
        return await read_long_work(self.connection)

    async def dead_letters(self) -> list[DeadLetter]:
        return [parse_stored(message) async for message in read_all(self.connection, DEAD_LETTER)]

    async def lag(self) -> int:
        [info] = await durable_consumers(self.connection)
        return int(info["num_pending"]) + int(info["num_ack_pending"])


@pytest.fixture
async def world(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(watch, "EVERY_S", 0.1)
    monkeypatch.setattr(cancel, "_EVERY_S", 0.1)
    async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=False) as connection:
        await apply(connection, declaration_for({JOB: "encode"}))
        yield World(nats_server.url, connection)


class Encoder:
    """Handler that says how far it is, and waits."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.finish = asyncio.Event()

    async def handle(self, _event: Encode, job: LongContext) -> None:
        self.attempts.append(job.message.attempt)
        job.progress(30, 120, "frames")
        await self.finish.wait()


async def test_status_and_log_show_how_far_it_is_until_it_ends(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await world.publish()
    encoder = Encoder()
    process = world.start(encoder.handle)
    await until(world.running)

    async def has_said() -> bool:
        return all(one.done for one in await world.running())

    await until(has_said)
    _, found = await world.keda_jobs("status")
    [shown] = found["long_work"]
    assert (shown["job"], shown["attempt"], shown["done"], shown["total"]) == (JOB, 1, 30, 120)
    assert shown["text"] == "frames"
    encoder.finish.set()
    await process
    assert [record.msg for record in caplog.records].count("progress") == 1

    assert await world.running() == ()
    assert await world.lag() == 0


async def test_the_report_of_a_killed_pod_goes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVERY_S", 3600)
    monkeypatch.setattr(watch, "_KEPT_S", 1)
    await world.publish()
    process = world.start(Encoder().handle)
    await until(world.running)

    async def is_gone() -> bool:
        return not await world.running()

    await until(is_gone)
    process.cancel()
    await asyncio.wait((process,))


async def test_a_cancelled_message_ends_its_handler_and_is_a_dead_letter(world: World) -> None:
    await world.publish()
    encoder = Encoder()
    process = world.start(encoder.handle)
    [running] = await until(world.running)
    assert await world.keda_jobs("cancel", JOB, running.id) == (0, {"job": JOB, "id": running.id, "state": "ended"})
    await process
    [dead] = await world.dead_letters()
    assert (dead.error_class, dead.reason) == ("Cancelled", "Cancelled: cancelled by ada")
    assert await world.lag() == 0


async def test_a_message_that_is_cancelled_while_it_waits_never_runs(world: World) -> None:
    number = await world.publish()
    code, found = await world.keda_jobs("cancel", JOB, str(number))
    assert (code, found["state"]) == (0, "not running")
    encoder = Encoder()
    await world.start(encoder.handle)
    [dead] = await world.dead_letters()
    assert (encoder.attempts, dead.error_class) == ([], "Cancelled")


async def test_what_is_cancelled_while_it_waits_for_a_retry_never_runs_again(world: World) -> None:
    attempts = []

    async def fail(_event: Encode, job: LongContext) -> None:
        attempts.append(str(job.message.id))
        raise OSError("no space left")

    await world.publish()
    await world.start(fail, retry_step_s=1)
    code, found = await world.keda_jobs("cancel", JOB, attempts[0])
    assert (code, found["state"]) == (0, "not running")
    await until(world.lag)
    await world.start(fail)
    [dead] = await world.dead_letters()
    assert (len(attempts), dead.error_class, dead.num_delivered) == (1, "Cancelled", 2)


@pytest.mark.parametrize("name", ["1", "0", "7", "encoder-1-1", "other-1-1", "x", "9" * 30, "²"])
async def test_a_message_that_is_not_there_is_not_cancelled(world: World, name: str) -> None:
    await world.connection.jetstream.publish(DEAD_LETTER, b"{}")
    code, said = await world.keda_jobs("cancel", JOB, name)
    assert (code, said) == (1, f"keda-jobs: {JOB} has no message {name!r}; `keda-jobs status` lists those that run\n")
    code, said = await world.keda_jobs("cancel", "other", name)
    assert (code, said.startswith("keda-jobs: there is no job other here")) == (1, True)
    assert (await stream_info(world.connection, LONG_STREAM))["state"]["messages"] == 0


async def test_without_its_stream_the_work_goes_on_unwatched(world: World) -> None:
    await request(world.connection, f"STREAM.DELETE.{LONG_STREAM}")
    await world.publish()
    encoder = Encoder()
    encoder.finish.set()
    await world.start(encoder.handle)
    assert (encoder.attempts, await world.lag()) == ([1], 0)
    code, said = await world.keda_jobs("status")
    assert (code, f"no stream {LONG_STREAM} answers" in said) == (1, True)
