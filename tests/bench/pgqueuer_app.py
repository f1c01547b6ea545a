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
from user_work import user_work

BATCH = 100
ENTRYPOINT = "normalize"


def install(dsn: str) -> None:
    for command in ("install", "autovac"):
        subprocess.run([sys.executable, "-m", "pgqueuer", "--pg-dsn", dsn, command], check=True)


async def main(dsn: str, jobs: int) -> None:
    app = PgQueuer.from_asyncpg_connection(await asyncpg.connect(dsn))
    if jobs:
        await asyncio.to_thread(install, dsn)
        payloads: list[bytes | None] = [b"%d" % number for number in range(1, jobs + 1)]
        await app.qm.queries.enqueue([ENTRYPOINT] * jobs, payloads, [0] * jobs)
        return
    async with user_work(dsn) as work:

        @app.entrypoint(ENTRYPOINT)
        async def normalize(job: Job) -> None:
            await work(int(job.payload or b""))

        await app.run(batch_size=BATCH, mode=QueueExecutionMode.drain)


dsn, *options = sys.argv[1:]
uvloop.run(main(dsn, int(options[0]) if options else 0))
