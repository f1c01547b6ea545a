"""Baseline: PgQueuer.

Usage: pgqueuer_app.py DSN [JOBS]

With JOBS it creates its tables and a job for each of the first JOBS users. Otherwise it works until no job is left.
Its guide to performance recommends one plain connection for the queue and larger batches of short jobs.
"""

import asyncio
import subprocess
import sys

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.types import QueueExecutionMode
from user_work import Users, pool

BATCH = 100
ENTRYPOINT = "normalize"


def install(dsn: str) -> None:
    for command in ("install", "autovac"):
        subprocess.run([sys.executable, "-m", "pgqueuer", "--pg-dsn", dsn, command], check=True)


async def enqueue(dsn: str, jobs: int) -> None:
    connection = await asyncpg.connect(dsn)
    queries = PgQueuer.from_asyncpg_connection(connection).qm.queries
    payloads: list[bytes | None] = [b"%d" % user_id for user_id in range(1, jobs + 1)]
    await queries.enqueue([ENTRYPOINT] * jobs, payloads, [0] * jobs)
    await connection.close()


async def work(dsn: str) -> None:
    app = PgQueuer.from_asyncpg_connection(await asyncpg.connect(dsn))
    async with pool(dsn) as connections:
        users = Users(connections, dsn)

        @app.entrypoint(ENTRYPOINT)
        async def normalize(job: Job) -> None:
            await users.normalize(int(job.payload or b""))

        await app.run(batch_size=BATCH, mode=QueueExecutionMode.drain)


if len(sys.argv) > 2:
    install(sys.argv[1])
    asyncio.run(enqueue(sys.argv[1], int(sys.argv[2])))
else:
    uvloop.run(work(sys.argv[1]))
