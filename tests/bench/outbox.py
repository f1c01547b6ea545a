"""Events per second that the workers of an outbox send, and that nats-py publishes by itself."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
from durable import DurableServer
from nats.js import JetStreamContext
from results import Bound, Comparison
from running import Bench, run_together, started

from keda_jobs.batch import BatchJob
from keda_jobs.claims import schema
from keda_jobs.claims.roles import worker_role
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from new_job.kinds import OutboxPlan
from new_job.template import write_files
from stack import BatchWorker, NatsServer, StackError
from stack.jobs import load_job
from stack.postgres import DATABASE
from stack.streams import declaration_for

_ROWS = 100_000
_PLAN = OutboxPlan("bench-outbox", "bench-sent")
_OURS, _ONE, _BARE = "outbox, 2 workers", "outbox, 1 worker", "nats-py's publish, 256 in flight"
_INSERT = """
INSERT INTO bench_outbox (subject, payload)
SELECT 'bench-sent', jsonb_build_object('key', 'order ' || n) FROM generate_series(1, $1::int) AS n"""
_SECONDS = "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM keda_jobs.batch_jobs"
# A server that writes each message to the disk before it confirms it takes hundreds a second, and some disks more.
_BARE_MESSAGES = 5_000


async def measure(bench: Bench) -> list[Comparison]:
    """Measure the rates in events per second, with all servers on this machine's disk. Raises `StackError`."""
    write_files(_PLAN, bench.folder / _PLAN.name)
    async with started(DurableServer(bench.folder)) as postgres, started(NatsServer(bench.folder)) as nats:
        settings = NatsSettings.model_construct(nats_url=nats.url)
        async with connect(settings, name="bench", wait=True) as connection:
            await apply(connection, declaration_for({}, [_PLAN.subject]))
            outbox = _Outbox(bench, postgres, nats)
            await outbox.make()
            rates = await bench.in_turns(
                "outbox",
                {
                    _OURS: lambda: outbox.send(2),
                    _ONE: lambda: outbox.send(1),
                    _BARE: lambda: _publish(connection.jetstream),
                },
            )
    note = f"outbox: {_ROWS:,} rows, PostgreSQL with fsync, NATS with sync_interval: always, all on one disk."
    return [Comparison("outbox, events", "events/s", rates, {_BARE: Bound(least=0.3)}, note)]


class _Outbox:
    """The job, its table and its servers."""

    def __init__(self, bench: Bench, postgres: DurableServer, nats: NatsServer) -> None:
        self._bench = bench
        self._postgres = postgres
        self._nats = nats
        self._turns = 0
        job = load_job(bench.folder / _PLAN.name)
        assert isinstance(job, BatchJob)
        self._table = job.table

    async def make(self) -> None:
        """Create the table and its queue."""
        connection = await asyncpg.connect(self._postgres.dsn)
        await schema.apply(connection, self._table, self._source / _PLAN.package / "migrations")
        await connection.close()

    async def send(self, workers: int) -> float:
        """Let workers send all rows of a full table. Return the events per second of their batches."""
        connection = await asyncpg.connect(self._postgres.dsn)
        await connection.execute("TRUNCATE bench_outbox")
        await connection.execute("DELETE FROM keda_jobs.batch_jobs")
        await connection.execute(_INSERT, _ROWS)
        await connection.execute("VACUUM ANALYZE bench_outbox")
        await run_together(*(self._worker() for _ in range(workers)))
        left = await connection.fetchval("SELECT count(*) FROM bench_outbox")
        seconds = await connection.fetchval(_SECONDS)
        await connection.close()
        if left:
            raise StackError(f"outbox: {left} rows were not sent; see the logs in {self._bench.folder}")
        return _ROWS / float(seconds)

    @property
    def _source(self) -> Path:
        return self._bench.folder / _PLAN.name / "src"

    def _worker(self) -> BatchWorker:
        self._turns += 1
        path = os.pathsep.join([str(self._source), os.environ.get("PYTHONPATH", "")])
        dsn = self._postgres.dsn_of(DATABASE, worker_role(self._table))
        environment = {**self._nats.environment(), "PG_DSN": dsn, "PYTHONPATH": path}
        pod = f"pod-{self._turns}"
        return BatchWorker(_PLAN.name, environment, self._bench.folder / f"{pod}.log", pod)


async def _publish(jetstream: JetStreamContext) -> float:
    """Publish events without a table. Return the events per second."""
    events = iter(range(_BARE_MESSAGES))
    began = time.perf_counter()
    await asyncio.gather(*(_publish_each(jetstream, events) for _ in range(256)))
    return _BARE_MESSAGES / (time.perf_counter() - began)


async def _publish_each(jetstream: JetStreamContext, events: Iterator[int]) -> None:
    for event in events:
        await jetstream.publish(_PLAN.subject, b'{"key":"order %d"}' % event)
