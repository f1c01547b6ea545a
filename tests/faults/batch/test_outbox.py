"""Outbox of `make new-job`: what an application commits is sent, whoever is killed, and nothing else is."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.batch import BatchJob
from keda_jobs.claims import schema
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.reader import read_all, read_page
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from new_job.kinds import OutboxPlan
from new_job.template import write_files
from stack import BatchWorker, NatsServer, PostgresServer, until
from stack.jobs import load_job
from stack.postgres import DATABASE
from stack.streams import declaration_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PLAN = OutboxPlan("made-outbox", "made-sent")
# Longer than any run, so that no event is stored twice.
_WINDOW_NS = 3600 * 10**9
_INSERT = """
INSERT INTO made_outbox (subject, payload)
SELECT 'made-sent', jsonb_build_object('key', n::text) FROM generate_series($1::int, $2::int) AS n"""


class Outbox:
    """The job, its table, its workers, and the two servers."""

    def __init__(self, postgres: PostgresServer, nats: NatsServer, events: NatsConnection, folder: Path) -> None:
        self._postgres = postgres
        self._nats = nats
        self._events = events
        self._folder = folder
        self._workers: list[BatchWorker] = []
        self.committed: list[int] = []

    async def make(self) -> None:
        """Make the job and its table, and connect."""
        write_files(PLAN, self._folder / PLAN.name)
        job = load_job(self._folder / PLAN.name)
        assert isinstance(job, BatchJob)
        await self.connect()
        migrations = self._folder / PLAN.name / "src" / PLAN.package / "migrations"
        await schema.apply(self.owner, job.table, migrations)

    async def connect(self) -> None:
        self.owner = await asyncpg.connect(self._postgres.dsn)

    async def insert(self, number: int) -> None:
        """Insert entries in a transaction that is committed, and others in one that is not."""
        first = len(self.committed) + 1
        await self.owner.execute(_INSERT, first, first + number - 1)
        self.committed += range(first, first + number)
        rolled_back = self.owner.transaction()
        await rolled_back.start()
        await self.owner.execute(_INSERT, 10**6, 10**6 + number)
        await rolled_back.rollback()

    async def scale(self) -> None:
        """Start a worker if rows are claimable and fewer than two run, as KEDA does."""
        alive = [worker for worker in self._workers if worker.alive]
        claimable = await self.owner.fetchval("SELECT rows FROM keda_jobs.made_outbox_claimable")
        if claimable and len(alive) < 2:
            pod = f"pod-{len(self._workers)}"
            path = os.pathsep.join([str(self._folder / PLAN.name / "src"), os.environ.get("PYTHONPATH", "")])
            environment = {
                "PYTHONPATH": path,
                "PG_DSN": self._postgres.dsn_of(DATABASE, "made_outbox_worker"),
                "LEASE_S": "1",
                "CLAIM_SIZE": "20",
                "CLAIM_TIMEOUT_S": "60",
                **self._nats.environment(),
            }
            self._workers.append(BatchWorker(PLAN.name, environment, self._folder / f"{pod}.log", pod))
            await asyncio.to_thread(self._workers[-1].launch)

    async def sent(self) -> list[int]:
        """Read the entries in the stream."""
        return [int(json.loads(one.data)["key"]) async for one in read_all(self._events, "made-sent")]

    async def count(self) -> int:
        """Count the entries in the stream, without reading them."""
        return (await read_page(self._events, "made-sent", first=1, limit=1)).count

    async def is_empty(self) -> bool:
        """Let workers run, and return whether the table is empty."""
        await self.scale()
        return not await self.owner.fetchval("SELECT count(*) FROM made_outbox")

    async def kill_worker(self) -> None:
        for worker in self._workers:
            if worker.alive:
                await asyncio.to_thread(worker.kill)
                return

    async def kill_nats(self) -> None:
        await asyncio.to_thread(self._nats.kill)
        await asyncio.to_thread(self._nats.start)

    async def crash_postgres(self) -> None:
        self.owner.terminate()
        await asyncio.to_thread(self._postgres.stop_immediately)
        await asyncio.to_thread(self._postgres.start)
        await self.connect()

    def end(self) -> None:
        self.owner.terminate()
        for worker in self._workers:
            worker.kill()


@pytest.fixture
async def outbox(own_postgres_server: PostgresServer, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Outbox]:
    """Make an empty outbox on servers of its own."""
    declared = declaration_for({}, [PLAN.subject])
    streams = tuple({**stream, "duplicate_window": _WINDOW_NS} for stream in declared.streams)
    settings = NatsSettings.model_construct(nats_url=nats_server.url)
    async with connect(settings, name="test", wait=True) as connection:
        await apply(connection, replace(declared, streams=streams))
        made = Outbox(own_postgres_server, nats_server, connection, tmp_path)
        await made.make()
        yield made
        made.end()


async def test_what_is_committed_is_sent_once_whoever_is_killed(outbox: Outbox, full_size: bool) -> None:
    strikes: list[Callable[[], Awaitable[None]]] = [outbox.kill_worker, outbox.kill_nats, outbox.crash_postgres]
    rounds, rows = (30, 300) if full_size else (6, 60)

    for strike in itertools.islice(itertools.cycle(strikes), rounds):
        before = await outbox.count()
        await outbox.insert(rows)

        async def has_begun(before: int = before) -> bool:
            await outbox.scale()
            return await outbox.count() > before

        await until(has_begun)
        await strike()
    await until(outbox.is_empty, 120)

    sent = await outbox.sent()
    assert sorted(set(sent)) == outbox.committed
    assert len(sent) == len(outbox.committed)
