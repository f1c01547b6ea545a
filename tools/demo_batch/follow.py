"""Following the workers to their end."""

from __future__ import annotations

import asyncio
import time

import asyncpg

from demo_batch.seed import Seeded
from demo_batch.show import progress
from demo_batch.tally import Report, read_report, read_tally
from demo_batch.workers import Workers
from stack import PostgresServer, StackError

_LOOK_EVERY_S = 0.1


async def follow(postgres: PostgresServer, workers: Workers, seeded: Seeded, deadline_s: float) -> Report:
    """Show how far the workers are until they have ended.

    Raises `StackError` when the server or a worker dies meanwhile, or after `deadline_s`.
    """
    give_up = time.monotonic() + deadline_s
    connection = await asyncpg.connect(postgres.dsn, ssl=False)
    try:
        with progress(seeded) as show:
            while workers.are_running:
                postgres.raise_if_exited()
                if time.monotonic() > give_up:
                    raise StackError(f"the workers have not ended after {deadline_s:g} s")
                show(await read_tally(connection))
                await asyncio.sleep(_LOOK_EVERY_S)
            show(await read_tally(connection), last=True)
        return await read_report(connection)
    finally:
        connection.terminate()
