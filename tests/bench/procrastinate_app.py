"""Baseline: Procrastinate.

Usage: procrastinate_app.py DSN [JOBS]

With JOBS it creates its tables and a job for each of the first JOBS users. Otherwise it works until no job is left.
"""

import asyncio
import sys
from typing import Any

from procrastinate import App, PsycopgConnector
from user_work import user_work

CONCURRENCY = 30
CONNECTIONS = 10


async def main(dsn: str, jobs: int) -> None:
    app = App(connector=PsycopgConnector(conninfo=dsn, min_size=CONNECTIONS, max_size=CONNECTIONS))
    async with app.open_async(), user_work(dsn) as work:

        @app.task(name="normalize")
        async def normalize(user_id: int) -> None:
            await work(user_id)

        if jobs:
            await app.schema_manager.apply_schema_async()
            arguments: list[dict[str, Any]] = [{"user_id": number} for number in range(1, jobs + 1)]
            await normalize.batch_defer_async(*arguments)
        else:
            await app.run_worker_async(wait=False, concurrency=CONCURRENCY)


dsn, *options = sys.argv[1:]
asyncio.run(main(dsn, int(options[0]) if options else 0))
