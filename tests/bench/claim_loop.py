"""Claim and complete ROWS users over one connection.

Usage: claim_loop.py asyncpg|psycopg DSN ROWS

The statements and transactions are those of users-batch without a handler. Prints the rows, the seconds they took, and
the CPU seconds of this process.
"""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import psycopg

from keda_jobs.claims.statements import BY_KEYS, BY_RANGE, SET_LOCAL, Statements
from users_batch.job import JOB

SLICE = 2500
SQL = Statements(JOB.table, dict.fromkeys(JOB.table.writes, "text"))
HOLD_NEXT = """
UPDATE users_queue SET batch_id = $1
WHERE range_id = (SELECT min(range_id) FROM users_queue WHERE batch_id IS NULL)"""

Rows = Sequence[Sequence[Any]]


class Psycopg:
    """Connection of psycopg with asyncpg's methods."""

    def __init__(self, cursor: psycopg.AsyncRawCursor[Any]) -> None:
        self._cursor = cursor

    async def fetch(self, query: str, *arguments: Any) -> Rows:
        await self.execute(query, *arguments)
        rows: Rows = await self._cursor.fetchall()
        return rows

    async def execute(self, query: str, *arguments: Any) -> None:
        await self._cursor.execute(query.encode(), arguments or None, binary=True)


async def begin(driver: Any, plan: Mapping[str, str]) -> None:
    await driver.execute("BEGIN")
    await driver.fetch(SET_LOCAL, list(plan), list(plan.values()))


async def claim(driver: Any, batch_id: int) -> Rows:
    await begin(driver, BY_RANGE)
    await driver.execute(HOLD_NEXT, batch_id)
    rows: Rows = await driver.fetch(SQL.claim, batch_id)
    await driver.execute("COMMIT")
    return rows


async def complete(driver: Any, batch_id: int, rows: Rows) -> None:
    keys, _attempts, names, emails = (list(column) for column in zip(*rows, strict=True))
    await begin(driver, BY_KEYS)
    await driver.execute(SQL.complete, batch_id, keys, names, emails, emails, names)
    await driver.execute("COMMIT")


async def main(name: str, dsn: str, most: int) -> None:
    # No prepared statements, as a pooler before the server requires.
    if name == "asyncpg":
        driver: Any = await asyncpg.connect(dsn, statement_cache_size=0)
    else:
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=None)
        driver = Psycopg(psycopg.AsyncRawCursor(connection))
    began, cpu_began = time.perf_counter(), time.process_time()
    done, batch_id = 0, 0
    while done < most and (rows := await claim(driver, batch_id := batch_id + 1)):
        for first in range(0, len(rows), SLICE):
            await complete(driver, batch_id, rows[first : first + SLICE])
        done += len(rows)
    print(done, time.perf_counter() - began, time.process_time() - cpu_began)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
