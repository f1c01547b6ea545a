"""Baseline: Procrastinate.

Usage: procrastinate_app.py DSN [JOBS]

With JOBS it creates its tables and a job for each of the first JOBS users. Otherwise it works until no job is left.
"""

import asyncio
import sys
from typing import Any

from procrastinate import App, PsycopgConnector
from user_work import Users, pool

CONCURRENCY = 30
CONNECTIONS = 10

dsn, *options = sys.argv[1:]
app = App(connector=PsycopgConnector(conninfo=dsn, min_size=CONNECTIONS, max_size=CONNECTIONS))
users: list[Users] = []


@app.task(name="normalize")
async def normalize(user_id: int) -> None:
    await users[0].normalize(user_id)


async def enqueue(count: int) -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for first in range(1, count + 1, 1000):
            jobs: list[dict[str, Any]] = [{"user_id": first + n} for n in range(min(1000, count + 1 - first))]
            await normalize.batch_defer_async(*jobs)


async def work() -> None:
    async with app.open_async(), pool(dsn) as connections:
        users.append(Users(connections, dsn))
        await app.run_worker_async(wait=False, concurrency=CONCURRENCY)


asyncio.run(enqueue(int(options[0])) if options else work())
