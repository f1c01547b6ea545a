"""Claim and complete ROWS users over one connection.

Usage: claim_loop.py asyncpg|psycopg DSN ROWS

The statements and transactions are those of users-batch without a handler. Prints the rows, the seconds they took, and
the CPU seconds of this process.
"""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from keda_jobs.claims.statements import BY_KEYS, BY_RANGE, SET_LOCAL, Statements
from users_batch.job import JOB

SLICE = 2500
SQL = Statements(JOB.table, dict.fromkeys(JOB.table.writes, "text"))
HOLD_NEXT = """
UPDATE users_queue SET batch_id = $1
WHERE range_id = (SELECT min(range_id) FROM users_queue WHERE batch_id IS NULL)"""

Rows = Sequence[Sequence[Any]]


class Driver(Protocol):
    """Connection without prepared statements, as a pooler before the server requires."""

    async def fetch(self, query: str, *arguments: Any) -> Rows:
        """Return the rows of a query."""

    async def execute(self, query: str, *arguments: Any) -> None:
        """Run a statement that returns no rows."""


class Asyncpg:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, query: str, *arguments: Any) -> Rows:
        rows: Rows = await self._connection.fetch(query, *arguments)
        return rows

    async def execute(self, query: str, *arguments: Any) -> None:
        await self._connection.execute(query, *arguments)


class Psycopg:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def fetch(self, query: str, *arguments: Any) -> Rows:
        await self.execute(query, *arguments)
        rows: Rows = await self._cursor.fetchall()
        return rows

    async def execute(self, query: str, *arguments: Any) -> None:
        await self._cursor.execute(query, arguments or None, binary=True)


async def connect(driver: str, dsn: str) -> Driver:
    if driver == "asyncpg":
        import asyncpg

        return Asyncpg(await asyncpg.connect(dsn, statement_cache_size=0))
    import psycopg

    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=None)
    return Psycopg(psycopg.AsyncRawCursor(connection))


async def begin(driver: Driver, plan: Mapping[str, str]) -> None:
    await driver.execute("BEGIN")
    await driver.fetch(SET_LOCAL, list(plan), list(plan.values()))


async def claim(driver: Driver, batch_id: int) -> Rows:
    await begin(driver, BY_RANGE)
    await driver.execute(HOLD_NEXT, batch_id)
    rows = await driver.fetch(SQL.claim, batch_id)
    await driver.execute("COMMIT")
    return rows


async def complete(driver: Driver, batch_id: int, rows: Rows) -> None:
    keys, _attempts, names, emails = (list(column) for column in zip(*rows, strict=True))
    await begin(driver, BY_KEYS)
    await driver.execute(SQL.complete, batch_id, keys, names, emails, emails, names)
    await driver.execute("COMMIT")


async def main(name: str, dsn: str, most: int) -> None:
    driver = await connect(name, dsn)
    began, cpu_began = time.perf_counter(), time.process_time()
    done, batch_id = 0, 0
    while done < most and (rows := await claim(driver, batch_id := batch_id + 1)):
        for first in range(0, len(rows), SLICE):
            await complete(driver, batch_id, rows[first : first + SLICE])
        done += len(rows)
    print(done, time.perf_counter() - began, time.process_time() - cpu_began)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
