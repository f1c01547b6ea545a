"""One table with its queue, seen from outside, and workers of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
from pydantic import SecretStr

from keda_jobs.claims import Batch, ClaimQueue, ClaimTable, Failure
from keda_jobs.claims.schema import scaler_role, worker_role
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import open_pool
from keda_jobs.settings import PgSettings
from stack import PostgresServer, until

from .subjects import Subject

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
        """Whether every row that was claimed has been accounted for."""
        return self.claimed == self.completed + self.failed + self.returned


class Rig:
    """A database with the queue of `subject`; `owner` may do everything, `worker` is a worker's queue."""

    def __init__(self, server: PostgresServer, database: str, subject: Subject, owner: Owner) -> None:
        self.subject = subject
        self.owner = owner
        self._server = server
        self._database = database
        self._open = AsyncExitStack()

    @property
    def table(self) -> ClaimTable:
        """The table of the queue."""
        return self.subject.table

    def dsn(self, role: str | None = None) -> str:
        """How `role`, or the owner, connects."""
        return self._server.dsn_of(self._database, role) if role else self._server.dsn_of(self._database)

    async def connect(self, role: str | None = None) -> Owner:
        """A connection as `role`, open until the test ends."""
        connection = await asyncpg.connect(self.dsn(role))
        self._open.callback(connection.terminate)
        return connection

    async def scaler(self) -> Owner:
        """A connection as KEDA would have it."""
        return await self.connect(scaler_role(self.table))

    async def worker(
        self,
        pod: str = "pod-1",
        *,
        lease_s: float = 60,
        max_attempts: int = 3,
        connections: int = 4,
        table: ClaimTable | None = None,
    ) -> ClaimQueue:
        """The queue as a worker uses it: with the worker's role and connections of its own."""
        settings = PgSettings(pg_dsn=SecretStr(self.dsn(worker_role(self.table))))
        connected = await self._open.enter_async_context(
            open_pool(settings, name=pod, connections=connections, call_s=30)
        )
        policy = RetryPolicy(max_attempts, 60)
        return await ClaimQueue.bind(connected, table or self.table, pod_name=pod, lease_s=lease_s, policy=policy)

    async def disconnect(self) -> None:
        """End all connections but the owner's."""
        await self._open.aclose()

    async def close(self) -> None:
        """End all connections."""
        await self.disconnect()
        await self.owner.close()

    async def insert(self, keys: Iterable[int]) -> None:
        """Insert rows with these keys, in one statement."""
        await self.owner.execute(self.subject.insert, list(keys))

    async def claimable(self) -> int:
        """What the scaler is told."""
        return (await self.both_counts())[0]

    async def counted(self) -> int:
        """What the scaler should be told, by reading every row."""
        return (await self.both_counts())[1]

    async def both_counts(self) -> tuple[int, int]:
        """What the scaler is told and should be told, at one moment."""
        [counts] = await self.owner.fetch(f"""
SELECT (SELECT rows FROM {self.table.claimable}), (
  SELECT count(*) FROM {self.table.name} AS t LEFT JOIN batch_jobs AS b USING (batch_id)
  WHERE t.batch_status IN ('pending', 'failed') AND t.next_attempt_at <= now()
    OR t.batch_status = 'processing' AND (b.status <> 'running' OR b.lease_expires_at <= now())
)""")
        return counts[0], counts[1]

    async def until_blocked(self, number: int = 1) -> list[int]:
        """The processes of the server that wait for a lock, once there are `number` of them."""

        async def blocked() -> list[int] | None:
            found = await self.owner.fetch(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return [row[0] for row in found] if len(found) >= number else None

        return list(await until(blocked))

    async def rows(self, columns: str, where: str = "true") -> list[tuple[Any, ...]]:
        """Columns of the table's rows, in the order of the key."""
        found = await self.owner.fetch(
            f"SELECT {columns} FROM {self.table.name} WHERE {where} ORDER BY {self.table.key}"
        )
        return [tuple(row) for row in found]

    async def keys(self, where: str = "true") -> list[int]:
        """Keys of rows."""
        return [row[0] for row in await self.rows(self.table.key, where)]

    async def statuses(self) -> dict[str, int]:
        """How many rows have which status."""
        found = await self.owner.fetch(f"SELECT batch_status, count(*) FROM {self.table.name} GROUP BY 1")
        return {row[0]: row[1] for row in found}

    async def ranges(self) -> list[tuple[int, int, int]]:
        """Lowest and highest key and number of rows of each waiting range."""
        found = await self.owner.fetch(
            f"SELECT lo, hi, claimable FROM {self.table.queue} WHERE batch_id IS NULL ORDER BY lo"
        )
        return [(row[0], row[1], row[2]) for row in found]

    async def batches(self) -> list[BatchRow]:
        """All batches, in the order in which they were opened."""
        found = await self.owner.fetch(
            "SELECT status, claimed, completed, failed, given_up, returned, error FROM batch_jobs ORDER BY batch_id"
        )
        return [BatchRow(*row) for row in found]

    async def expire_leases(self) -> None:
        """As if no worker had given a sign of life for long."""
        await self.owner.execute("UPDATE batch_jobs SET lease_expires_at = '2020-01-01' WHERE status = 'running'")

    async def make_due(self) -> None:
        """As if every row that waits for its retry had waited long enough."""
        moved = "; ".join(
            f"UPDATE {table} SET next_attempt_at = next_attempt_at - interval '1 year'"
            " WHERE batch_status = 'failed' AND next_attempt_at > now() AND next_attempt_at < 'infinity'"
            for table in (self.table.queue, self.table.name)
        )
        async with self.owner.transaction():
            await self.owner.execute(f"SET LOCAL keda_jobs.claims = 'on'; {moved}")

    async def settle_all(self, worker: ClaimQueue, batch: Batch) -> None:
        """Complete every row of the batch and close it."""
        await worker.settle(batch, [self.subject.done(row) for row in batch.rows], ())
        await worker.close(batch)

    async def drain(self, worker: ClaimQueue, most: int = 20_000) -> int:
        """Complete everything that is claimable; the number of rows."""
        number = 0
        while (batch := await worker.claim(most)) is not None:
            await self.settle_all(worker, batch)
            number += len(batch.rows)
        return number


def keys_of(batch: Batch | None) -> list[int]:
    """The keys of a batch, in order."""
    return sorted(row.key for row in batch.rows) if batch else []


def failures(batch: Batch, delay_s: float | None, keys: Sequence[int] | None = None) -> list[Failure]:
    """Failures of the batch's rows, or of those with these keys."""
    return [Failure(row.key, "it broke", delay_s) for row in batch.rows if keys is None or row.key in keys]
