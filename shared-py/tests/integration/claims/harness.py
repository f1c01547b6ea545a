"""Harness around one table with a claim queue, and its workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import asyncpg
from pydantic import SecretStr

from keda_jobs.claims import Batch, ClaimQueue, ClaimTable, Failure
from keda_jobs.claims.roles import scaler_role, worker_role
from keda_jobs.claims.rows import ClaimedRow, CompletedRow
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import StatementGivenUp, open_pool
from keda_jobs.settings import PgSettings
from stack import PostgresServer, until

from .example_tables import ExampleTable

T = TypeVar("T")
# Generic in its stubs only.
Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A row of `batch_jobs`, without its times."""

    status: str
    claimed: int
    completed: int
    failed: int
    given_up: int
    returned: int
    error: str | None

    @property
    def adds_up(self) -> bool:
        """True when every claimed row is accounted for."""
        return self.claimed == self.completed + self.failed + self.returned


class QueueHarness:
    """Database with the queue of `example`. `owner` may do everything."""

    def __init__(self, server: PostgresServer, database: str, example: ExampleTable, owner: Owner) -> None:
        self.example = example
        self.owner = owner
        self._server = server
        self._database = database
        self._open = AsyncExitStack()

    @property
    def table(self) -> ClaimTable:
        """Table of the queue."""
        return self.example.table

    def dsn(self, role: str | None = None) -> str:
        """Return the address by which `role`, or the owner, connects."""
        return self._server.dsn_of(self._database, role) if role else self._server.dsn_of(self._database)

    async def connect(self, role: str | None = None) -> Owner:
        """Connect as `role` until the test ends."""
        connection = await asyncpg.connect(self.dsn(role))
        self._open.callback(connection.terminate)
        return connection

    async def scaler(self) -> Owner:
        """Connect as KEDA does."""
        return await self.connect(scaler_role(self.table))

    async def worker(
        self,
        pod: str = "pod-1",
        *,
        lease_s: float = 60,
        max_attempts: int = 3,
        connections: int = 4,
        call_s: float = 30,
        table: ClaimTable | None = None,
    ) -> ClaimQueue:
        """Open the queue as a worker does, with its role and its own connections."""
        settings = PgSettings(pg_dsn=SecretStr(self.dsn(worker_role(self.table))))
        connected = await self._open.enter_async_context(
            open_pool(settings, name=pod, connections=connections, call_s=call_s)
        )
        policy = RetryPolicy(max_attempts, 60)
        return await ClaimQueue.bind(
            connected, table or self.table, pod_name=pod, lease_s=lease_s, call_s=call_s, policy=policy
        )

    async def disconnect(self) -> None:
        """Close all connections except the owner's."""
        await self._open.aclose()

    async def close(self) -> None:
        """Close all connections."""
        await self.disconnect()
        await self.owner.close()

    async def insert(self, keys: Iterable[int]) -> None:
        """Insert rows with these keys, in one statement."""
        await self.owner.execute(self.example.insert, list(keys))

    async def claimable(self) -> int:
        """Read the number of claimable rows that the scaler sees."""
        return (await self.claimable_and_recount())[0]

    async def recount(self) -> int:
        """Count the claimable rows by reading every row."""
        return (await self.claimable_and_recount())[1]

    async def claimable_and_recount(self) -> tuple[int, int]:
        """Read what the scaler sees and what a full count finds, in one snapshot."""
        [counts] = await self.owner.fetch(f"""
SELECT (SELECT rows FROM {self.table.claimable}), (
  SELECT count(*) FROM {self.table.sql_name} AS t LEFT JOIN batch_jobs AS b USING (batch_id)
  WHERE t.batch_status IN ('pending', 'failed') AND t.next_attempt_at <= now()
    OR t.batch_status = 'processing' AND (b.status <> 'running' OR b.lease_expires_at <= now())
)""")
        return counts[0], counts[1]

    async def until_blocked(self, number: int = 1) -> list[int]:
        """Wait until `number` server processes wait for a lock, and return their ids."""

        async def blocked() -> list[int] | None:
            found = await self.owner.fetch(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return [row[0] for row in found] if len(found) >= number else None

        return list(await until(blocked))

    async def rows(self, columns: str, where: str = "true") -> list[tuple[Any, ...]]:
        """Read columns of the table's rows, in key order."""
        found = await self.owner.fetch(
            f"SELECT {columns} FROM {self.table.sql_name} WHERE {where} ORDER BY {self.table.sql_key}"
        )
        return [tuple(row) for row in found]

    async def keys(self, where: str = "true") -> list[int]:
        """Read the keys of rows."""
        return [row[0] for row in await self.rows(self.table.sql_key, where)]

    async def statuses(self) -> dict[str, int]:
        """Count the rows by status."""
        found = await self.owner.fetch(f"SELECT batch_status, count(*) FROM {self.table.sql_name} GROUP BY 1")
        return {row[0]: row[1] for row in found}

    async def ranges(self) -> list[tuple[int, int, int]]:
        """Read the lowest key, the highest key and the number of rows of each waiting range."""
        found = await self.owner.fetch(
            f"SELECT lo, hi, claimable FROM {self.table.queue} WHERE batch_id IS NULL ORDER BY lo"
        )
        return [(row[0], row[1], row[2]) for row in found]

    async def batches(self) -> list[BatchRow]:
        """Read all batches, the oldest first."""
        found = await self.owner.fetch(
            "SELECT status, claimed, completed, failed, given_up, returned, error FROM batch_jobs ORDER BY batch_id"
        )
        return [BatchRow(*row) for row in found]

    async def expire_leases(self) -> None:
        """Let every lease expire."""
        await self.owner.execute(
            "UPDATE keda_jobs.batch_jobs SET lease_expires_at = '2020-01-01' WHERE status = 'running'"
        )

    async def make_due(self) -> None:
        """Make every waiting row due for its retry."""
        year = "interval '1 year' WHERE batch_status = 'failed' AND next_attempt_at BETWEEN now() AND '9999-12-31'"
        async with self.owner.transaction():
            await self.owner.execute(f"""
SET LOCAL keda_jobs.claims = 'on';
UPDATE {self.table.sql_name} SET next_attempt_at = next_attempt_at - {year};
UPDATE {self.table.queue} SET
  latest = latest - interval '1 year', times = ARRAY(SELECT moment - interval '1 year' FROM unnest(times) AS moment),
  next_attempt_at = next_attempt_at - {year};
UPDATE {self.table.queue} SET times = NULL WHERE times = '{{}}'""")

    def results(self, rows: Iterable[ClaimedRow]) -> list[CompletedRow]:
        """Build the job's results for rows."""
        return [self.example.completed(row) for row in rows]

    async def settle_all(self, worker: ClaimQueue, batch: Batch) -> None:
        """Complete every row of the batch and close it."""
        await worker.settle(batch, self.results(batch.rows), ())
        await worker.close(batch)

    async def drain(self, worker: ClaimQueue, most: int = 20_000) -> int:
        """Complete everything that is claimable and return the number of rows."""
        number = 0
        while (batch := await worker.claim(most)) is not None:
            await self.settle_all(worker, batch)
            number += len(batch.rows)
        return number


async def until_not_given_up(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat `call`, as a worker does, until the server does not give it up for want of a lock."""
    while True:
        with suppress(StatementGivenUp):
            return await call()


def batch_keys(batch: Batch | None) -> list[int]:
    """Return the keys of a batch, in order."""
    return sorted(row.key for row in batch.rows) if batch else []


def failures(batch: Batch, delay_s: float | None, keys: Sequence[int] | None = None) -> list[Failure]:
    """Build failures of the batch's rows, or of those with these keys."""
    return [Failure(row.key, "it broke", delay_s, row.values) for row in batch.rows if keys is None or row.key in keys]
