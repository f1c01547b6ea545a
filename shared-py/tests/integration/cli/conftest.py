"""CLI in the test's process or in its own, with a server that a test fills and reads through nats-py."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError
from typer.testing import CliRunner

from keda_jobs.cli import app
from keda_jobs.domain.dead_letter import dead_letter
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Dead
from stack import NatsServer, PostgresServer, shell_status

from .batch_table import BatchTable

T = TypeVar("T")
STREAM = "keda-jobs-events"


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class Cli:
    """CLI: `cli("dlq", "ls")` runs in this process, `cli.start(…)` starts a process that can be signalled."""

    def __init__(self, url: str) -> None:
        self.environment = {"NATS_URL": url, "COLUMNS": "140", "NO_COLOR": "1"}
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str, input: str | None = None) -> Outcome:  # noqa: A002 - as in the runner
        result = CliRunner(env=self.environment).invoke(app, list(arguments), input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "keda_jobs.cli", *arguments],
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> Outcome:
        # Also called in a thread, which the limit of the suite does not end.
        stdout, stderr = process.communicate(timeout=300)
        return Outcome(shell_status(process.returncode), stdout, stderr)


class Server:
    """Server whose stream a test fills and reads."""

    def __init__(self, url: str) -> None:
        self.url = url

    def do(self, work: Callable[[Client], Awaitable[T]]) -> T:
        async def connected() -> T:
            client = await nats.connect(self.url)
            try:
                return await work(client)
            finally:
                await client.close()

        return asyncio.run(connected())

    def api(self, verb: str, body: Any = None) -> Any:
        async def ask(client: Client) -> Any:
            question = json.dumps(body).encode() if body is not None else b""
            return json.loads((await client.request(f"$JS.API.{verb}", question, timeout=30)).data)

        return self.do(ask)

    def publish(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> int:
        """Publish a message, and return its sequence."""

        async def put(client: Client) -> int:
            return (await client.jetstream().publish(subject, data, headers=headers)).seq

        return self.do(put)

    def bury(
        self,
        events: Sequence[bytes],
        *,
        subject: str = "image-download",
        job: str = "image-download",
        error_class: str = "NotFound",
        headers: dict[str, str] | None = None,
    ) -> list[int]:
        """Publish each event and its dead letter from `job`. Return the sequences of the dead letters."""

        async def one(client: Client, data: bytes) -> int:
            jetstream = client.jetstream()
            sequence = (await jetstream.publish(subject, data, headers=headers)).seq
            stored = await jetstream.get_msg(STREAM, seq=sequence)
            assert stored.time is not None
            message = Message(
                subject, data, headers or {}, Identity.of(job, sequence, stored.time), 15, sequence, stored.time
            )
            dead = Dead(f"{error_class}: 404 for the picture", error_class)
            outgoing = dead_letter(message, job, dead, client.max_payload, datetime.now(UTC))
            ack = await jetstream.publish(
                outgoing.subject, outgoing.data, headers={**outgoing.headers, "Nats-Msg-Id": outgoing.msg_id}
            )
            return ack.seq

        async def all_of_them(client: Client) -> list[int]:
            found: list[int] = []
            for start in range(0, len(events), 100):
                found += await asyncio.gather(*(one(client, event) for event in events[start : start + 100]))
            return found

        return self.do(all_of_them)

    def stored(self, subject: str) -> list[RawStreamMsg]:
        """Return all messages of `subject`."""

        async def read(client: Client) -> list[RawStreamMsg]:
            found: list[RawStreamMsg] = []
            try:
                while True:
                    after = (found[-1].seq or 0) + 1 if found else 1
                    found.append(await client.jetstream().get_msg(STREAM, seq=after, subject=subject, next=True))
            except NotFoundError:
                return found

        return self.do(read)

    def count(self, subject: str) -> int:
        state = self.api(f"STREAM.INFO.{STREAM}", {"subjects_filter": subject})["state"]
        return sum((state.get("subjects") or {}).values())

    def wait_for(self, condition: Callable[[], bool], deadline_s: float = 60) -> None:
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"


@pytest.fixture
def cli(nats_server: NatsServer) -> Iterator[Cli]:
    runner = Cli(nats_server.url)
    yield runner
    for process in runner.started:
        process.kill()
        process.communicate()


@pytest.fixture
def batch_table(postgres_server: PostgresServer, database: str, tmp_path: Path) -> BatchTable:
    """Create the empty table `words` in its own database."""
    table = BatchTable(postgres_server.dsn_of(database))
    table.make(tmp_path / "words")
    return table


@pytest.fixture
def batch_cli(request: pytest.FixtureRequest) -> Iterator[Cli]:
    """Provide the CLI without NATS, with the database of `batch_table` if the test uses it."""
    runner = Cli("")
    if "batch_table" in request.fixturenames:
        runner.environment["PG_DSN"] = request.getfixturevalue("batch_table").dsn
    yield runner
    for process in runner.started:
        process.kill()
        process.communicate()


@pytest.fixture
def server(nats_server: NatsServer, declare: Callable[[], Coroutine[Any, Any, None]]) -> Server:
    """Declare stream and consumers on the server."""
    asyncio.run(declare())
    return Server(nats_server.url)


@pytest.fixture
def bare_server(nats_server: NatsServer) -> Server:
    """Provide the server without a stream."""
    return Server(nats_server.url)
