"""What a queue costs at its size: bytes, ranges, and the time of what workers, scaler and people do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import asyncpg

from keda_jobs.claims import ClaimQueue, ClaimTable
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import open_pool
from keda_jobs.settings import PgSettings

_CLAIM_SIZE = 20_000
_TURNS = 5
_INSERTED = 200_000

_SIZES = """
SELECT reltuples::float8, pg_table_size('{table}')::float8, pg_indexes_size('{table}')::float8,
  (SELECT count(*) FROM {queue}), pg_total_relation_size('{queue}')::float8
FROM pg_class WHERE oid = '{table}'::regclass"""
_INSERT = """
INSERT INTO {table} (name, email)
SELECT 'Ada Lovelace ' || n, 'ada.' || n || '@example.org' FROM generate_series(1, $1::integer) AS n"""
_USED = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn, pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_VACUUMS = """
SELECT format('%s autovacuums, age of relfrozenxid %s', autovacuum_count, age(relfrozenxid))
FROM pg_stat_user_tables JOIN pg_class ON pg_class.oid = relid WHERE relid = '{table}'::regclass"""


class QueueSize:
    """Figures of the queue of `table`, printed one a line. `dsn` is the owner's."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], dsn: str, table: ClaimTable) -> None:
        self._connection = connection
        self._dsn = dsn
        self._table = table

    async def print_sizes(self) -> None:
        """Print bytes and ranges."""
        await self._connection.execute(f"ANALYZE {self._table.name}")
        rows, heap, indexes, ranges, queue = (await self._connection.fetch(self._sql(_SIZES)))[0]
        _say("table", f"{heap / 1e9:.3f} GB, {heap / rows:.0f} bytes a row")
        _say("indexes", f"{indexes / 1e9:.3f} GB, {indexes / rows:.0f} bytes a row")
        _say("ranges", f"{ranges:,} in {queue / 1e6:.2f} MB")

    async def print_calls(self) -> None:
        """Print the times of the scaler's query, of a claim, and of an insert beside what waits."""
        _say("scaler", f"{await self._scaler_ms():.2f} ms")
        _say("claim", f"{await self._claim_ms():.0f} ms for {_CLAIM_SIZE:,} rows")
        began = time.perf_counter()
        await self._connection.execute(self._sql(_INSERT), _INSERTED)
        _say("insert", f"{_INSERTED / (time.perf_counter() - began):,.0f} rows/s, in one statement")

    async def print_upkeep(self) -> None:
        """Print the times of what PostgreSQL has to do to a table of this size."""
        _say("vacuums", await self._connection.fetchval(self._sql(_VACUUMS)))
        for name, statement in {
            "vacuum": "VACUUM {}",
            "freeze": "VACUUM (FREEZE) {}",
            "reindex": "REINDEX TABLE {}",
        }.items():
            with timed(name):
                await self._connection.execute(statement.format(self._table.name))

    async def used(self) -> tuple[int, int]:
        """Return the bytes of WAL and the number of transactions that the server has written so far."""
        wal, transactions = (await self._connection.fetch(_USED))[0]
        return int(wal), int(transactions)

    async def _scaler_ms(self) -> float:
        query = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT rows FROM {self._table.claimable}"  # noqa: S608
        await self._connection.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=_execution_ms)
        times: list[float] = [await self._connection.fetchval(query) for _ in range(_TURNS)]
        return median(times)

    async def _claim_ms(self) -> float:
        """Claim rows and give them back, some times."""
        settings = PgSettings.model_validate({"pg_dsn": self._dsn})
        async with open_pool(settings, name="bench", connections=1, call_s=600) as pool:
            queue = await ClaimQueue.bind(
                pool, self._table, pod_name="bench", lease_s=600, call_s=600, policy=RetryPolicy(3, 60)
            )
            times = []
            for _ in range(_TURNS):
                began = time.perf_counter()
                batch = await queue.claim(_CLAIM_SIZE)
                times.append(1000 * (time.perf_counter() - began))
                if batch is not None:
                    await queue.close(batch)
            return median(times)

    def _sql(self, statement: str) -> str:
        return statement.format(table=self._table.name, queue=self._table.queue)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Print the seconds that the block takes."""
    began = time.perf_counter()
    yield
    _say(name, f"{time.perf_counter() - began:.1f} s")


def _say(name: str, figure: str) -> None:
    print(f"{name:<10} {figure}", flush=True)


def _execution_ms(plan: str) -> float:
    return float(json.loads(plan)[0]["Execution Time"])
