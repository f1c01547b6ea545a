"""The queue of `users` seen from outside: by its owner, by the scaler that KEDA would be, and by a full count."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib import resources
from typing import Any

import asyncpg

from keda_jobs.claims import ClaimTable, schema
from keda_jobs.postgres import Connection
from stack import PostgresServer
from stack.postgres import DATABASE

SCALER = "users_scaler"
SCALERS_QUERY = "SELECT rows FROM users_claimable"

# The same number from the rows themselves: those that no worker holds and no later time keeps back.
_FULL_COUNT = """
SELECT
  count(*) FILTER (WHERE batch_status = 'pending' AND next_attempt_at <= now()) AS pending,
  count(*) FILTER (WHERE batch_status = 'failed' AND next_attempt_at <= now()) AS due_again,
  count(*) FILTER (WHERE batch_status = 'processing' AND is_held IS NOT TRUE) AS orphaned,
  count(*) FILTER (WHERE batch_status = 'failed' AND next_attempt_at > now() AND next_attempt_at < 'infinity')
    AS resting
FROM users LEFT JOIN (
  SELECT batch_id, status = 'running' AND lease_expires_at > now() AS is_held FROM batch_jobs
) AS batches USING (batch_id)"""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the scaler is told and what a full count finds, in one snapshot; `resting` rows are not claimable yet."""

    claimable: int
    pending: int
    due_again: int
    orphaned: int
    resting: int

    @property
    def counted(self) -> int:
        """What the scaler ought to be told."""
        return self.pending + self.due_again + self.orphaned


class QueueView:
    """The owner's connection and the scaler's, which stays open as KEDA's does."""

    owner: Connection
    scaler: Connection

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._open: list[asyncpg.Connection[asyncpg.Record]] = []

    async def make(self, table: ClaimTable) -> None:
        """Make the users and their queue, for the job of `table`, in an empty database."""
        owner = await self._connect(self.server.dsn)
        await schema.apply(owner, table, resources.files("users_batch") / "migrations")
        await self.connect()

    async def connect(self) -> None:
        """Open the connections, anew where they are there already."""
        await self.disconnect()
        self.owner = await self._connect(self.server.dsn)
        self.scaler = await self._connect(self.server.dsn_of(DATABASE, SCALER))

    async def crash(self) -> None:
        """End the server as a crash does, and start it again."""
        await self.disconnect()
        await asyncio.to_thread(self.server.stop_immediately)
        await asyncio.to_thread(self.server.start)
        await self.connect()

    async def disconnect(self) -> None:
        """End all connections, also those to a server that is gone."""
        for connection in self._open:
            connection.terminate()
        self._open.clear()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next turn

    async def claimable(self) -> int:
        """What KEDA is told."""
        return int(await self.scaler.fetchval(SCALERS_QUERY))

    async def moment(self) -> Moment:
        """What KEDA is told and what is there, in one snapshot and at one `now()`."""
        async with self.owner.transaction(isolation="repeatable_read"):
            await self.owner.execute(f"SET LOCAL ROLE {SCALER}")
            claimable = await self.owner.fetchval(SCALERS_QUERY)
            await self.owner.execute("RESET ROLE")
            return Moment(claimable, **await self.one(_FULL_COUNT))

    async def one(self, query: str, *arguments: object) -> dict[str, Any]:
        """The only row of `query`, by column."""
        [found] = await self.owner.fetch(query, *arguments)
        return dict(found)

    async def settled_rows(self) -> int:
        """Rows whose outcome was written, by the account of the batches."""
        return int(await self.owner.fetchval("SELECT coalesce(sum(completed + failed), 0) FROM batch_jobs"))

    async def pods(self) -> set[str]:
        """The workers that have ever claimed rows."""
        return {row[0] for row in await self.owner.fetch("SELECT DISTINCT pod_name FROM batch_jobs")}

    async def holders(self) -> set[str]:
        """The workers that hold rows now."""
        found = await self.owner.fetch("SELECT pod_name FROM batch_jobs WHERE status = 'running'")
        return {row[0] for row in found}

    async def is_done(self) -> bool:
        """Whether no row waits, for a worker or for a later try, and no batch is open."""
        return bool(
            await self.owner.fetchval(
                "SELECT NOT EXISTS (SELECT FROM users_queue)"
                " AND NOT EXISTS (SELECT FROM batch_jobs WHERE status = 'running')"
            )
        )

    async def _connect(self, dsn: str) -> asyncpg.Connection[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        self._open.append(connection)
        return connection
