"""The same rows in one queue and in two on one server, with two workers in all, and in a table with partitions.

    PYTHONPATH=tools python tests/bench/several_queues.py --folder DIR [--rows 1000000] [--durable]

DIR gets a PostgreSQL server and the logs: about 1 GB for a million rows. The server's data stays there.
"""

from __future__ import annotations

import sys
import time
from importlib import resources
from pathlib import Path

import asyncpg
from durable import postgres_server
from large_run import main
from queue_job import job_of
from queue_size import QueueSize, timed
from running import Bench, run_together, started

from keda_jobs.claims import schema
from keda_jobs.claims.roles import worker_role
from stack import PostgresServer
from users_batch.job import JOB

_WORKERS = 2
_INSERT = """
INSERT INTO {} (name, email)
SELECT 'Ada Lovelace ' || n, 'ada.' || n || '@example.org' FROM generate_series(1, $1::integer) AS n"""
_SECONDS = "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM batch_jobs"

# Both updates of each row, in windows as claims make them. No queue: its triggers are refused on such tables.
_PARTITIONED = """
CREATE TABLE plain (id bigint, name text, email text, status text DEFAULT 'pending') PARTITION BY RANGE (id)"""
_PARTITION = """
CREATE TABLE plain_{0} PARTITION OF plain (PRIMARY KEY (id)) FOR VALUES FROM ({1}) TO ({2}) WITH (fillfactor = 40)"""
_UPDATE_ALL = """
DO $$ BEGIN
  FOR lo IN 1 .. {0} BY 20000 LOOP
    UPDATE plain SET status = 'processing' WHERE id BETWEEN lo AND lo + 19999;
    UPDATE plain SET status = 'completed' WHERE id BETWEEN lo AND lo + 19999;
    COMMIT;
  END LOOP;
END $$"""
_COMPLETED = "SELECT count(*) FROM {} WHERE batch_status = 'completed'"


async def measure(server: PostgresServer, bench: Bench, queues: int, rows: int) -> None:
    """Print the figures of `rows` in so many queues."""
    database, jobs = f"queues_{queues}", [job_of(f"users{number}") for number in range(queues)]
    print(f"-- {queues} queues of {rows // queues:,} rows")
    owner = await asyncpg.connect(server.dsn)
    await owner.execute(f"CREATE DATABASE {database}")
    await owner.close()
    connection = await asyncpg.connect(server.dsn_of(database))
    (migration,) = (resources.files("users_batch") / "migrations").iterdir()
    for job in jobs:
        folder = bench.folder / job.name
        folder.mkdir(exist_ok=True)
        renamed = migration.read_text(encoding="utf-8").replace(JOB.table.name, job.table.name)
        (folder / migration.name).write_text(renamed)
        await schema.apply(connection, job.table, folder)
    with timed("insert"):
        for job in jobs:
            await connection.execute(_INSERT.format(job.table.name), rows // queues)
    await connection.execute("VACUUM ANALYZE")
    await _process(server, bench, database, [jobs[number % queues].name for number in range(_WORKERS)])
    seconds = await connection.fetchval(_SECONDS)
    completed = sum([await connection.fetchval(_COMPLETED.format(job.table.name)) for job in jobs])
    print(f"process    {completed / seconds:,.0f} rows/s")
    first = QueueSize(connection, server.dsn_of(database), jobs[0].table)
    await first.print_sizes()
    await first.print_upkeep()
    await connection.close()


async def measure_partitions(server: PostgresServer, partitions: int, rows: int) -> None:
    """Print the time of both updates of `rows`, and of the freeze of one of so many partitions."""
    print(f"-- {partitions} partitions of {rows // partitions:,} rows, no queue")
    connection = await asyncpg.connect(server.dsn)
    await connection.execute(_PARTITIONED)
    size = rows // partitions
    for number in range(partitions):
        await connection.execute(_PARTITION.format(number, number * size + 1, (number + 1) * size + 1))
    await connection.execute(_INSERT.format("plain").replace("(name", "(id, name").replace("SELECT", "SELECT n,"), rows)
    await connection.execute("VACUUM ANALYZE plain")
    with timed("updates"):
        await connection.execute(_UPDATE_ALL.format(rows))
    with timed("freeze"):
        await connection.execute("VACUUM (FREEZE) plain_0")
    await connection.execute("DROP TABLE plain")
    await connection.close()


async def _process(server: PostgresServer, bench: Bench, database: str, tables: list[str]) -> None:
    workers = [
        bench.script(
            f"{database}-{number}", "queue_job", table,
            PG_DSN=server.dsn_of(database, worker_role(job_of(table).table)), HTTP_PORT="0",
        )
        for number, table in enumerate(tables)
    ]  # fmt: skip
    began = time.perf_counter()
    await run_together(*workers, deadline_s=3600)
    print(f"workers    {time.perf_counter() - began:.1f} s with the start of Python")


async def _run(folder: Path, rows: int, *, durable: bool) -> None:
    server = postgres_server(folder / "server", durable=durable)
    async with started(server):
        for queues in (1, 2):
            await measure(server, Bench(folder, 1, print), queues, rows)
        for partitions in (1, 10):
            await measure_partitions(server, partitions, rows)


if __name__ == "__main__":
    sys.exit(main("several queues", __doc__, 1_000_000, _run))
