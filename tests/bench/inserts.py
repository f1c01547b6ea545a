"""Rows per second that an application inserts into a table with a queue, and into it with its triggers off."""

from __future__ import annotations

import time

import asyncpg
from databases import Databases
from durable import DurableServer
from results import Bound, Comparison
from running import Bench, started

_QUEUED, _PLAIN = "users with its queue", "the same table, triggers off"

_PEOPLE = "'Ada Lovelace ' || n, 'ada.' || n || '@example.org' FROM generate_series(1, {rows}) AS n"
_INSERT = f"INSERT INTO users (name, email) SELECT {_PEOPLE}"
_ROW = "INSERT INTO users (name, email) VALUES ('Ada Lovelace', 'ada@example.org')"

# What an application sends, how often, and the rows of each.
_LOADS = {
    "insert, many rows a statement": (_INSERT.format(rows=200_000), 1, 200_000),
    "insert, every second id": (
        f"INSERT INTO users (id, name, email) SELECT 2 * n, {_PEOPLE.format(rows=200_000)}", 1, 200_000
    ),
    "insert, a time for each row": (
        "INSERT INTO users (next_attempt_at, name, email) SELECT '2026-01-01'::timestamptz + n * interval '1 second', "
        + _PEOPLE.format(rows=200_000), 1, 200_000,
    ),
    "insert, 100 rows a statement": (_INSERT.format(rows=100), 300, 30_000),
    "insert, row by row over TCP": (_ROW, 3_000, 3_000),
    "insert, row by row in the server": (f"DO $$ BEGIN FOR n IN 1..30000 LOOP {_ROW}; END LOOP; END $$", 1, 30_000),
}  # fmt: skip
_BOUNDS = {
    "insert, many rows a statement": Bound(least=0.6),
    "insert, every second id": Bound(least=0.35),
    "insert, a time for each row": Bound(least=0.35),
    "insert, 100 rows a statement": Bound(least=0.6),
}


async def measure(bench: Bench) -> list[Comparison]:
    """Measure the rates in rows per second. Raises `StackError`."""
    async with started(DurableServer(bench.folder)) as server:
        databases = Databases(server)
        await databases.make_empty()
        return [await _measure(bench, databases, title) for title in _LOADS]


async def _measure(bench: Bench, databases: Databases, title: str) -> Comparison:
    statement, times, rows = _LOADS[title]

    async def insert(template: str) -> float:
        async with databases.fresh(template) as database:
            connection = await asyncpg.connect(databases.dsn(database))
            began = time.perf_counter()
            for _ in range(times):
                await connection.execute(statement)
            seconds = time.perf_counter() - began
            await connection.close()
        return rows / seconds

    rates = await bench.in_turns(title, {_QUEUED: lambda: insert("empty"), _PLAIN: lambda: insert("unqueued")})
    bounds = {_PLAIN: _BOUNDS[title]} if title in _BOUNDS else {}
    return Comparison(title, "rows/s", rates, bounds, f"{title}: {rows:,} rows, fsync on.")
