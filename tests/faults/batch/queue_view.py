"""View of the queue of `users`: by its owner, by KEDA's scaler, and by a full count."""

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
SCALER_QUERY = "SELECT rows FROM keda_jobs.users_claimable"

# The same number by the rows themselves: those that are due and that no worker holds.
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
    """The scaler's number and a full count in one snapshot. `resting` rows are not claimable yet."""

    claimable: int
    pending: int
    due_again: int
    orphaned: int
    resting: int

    @property
    def counted(self) -> int:
        """Number that the scaler should see."""
        return self.pending + self.due_again + self.orphaned


class QueueView:
    """Connections of the owner and of the scaler, which stays open like KEDA's."""

    owner: Connection
    scaler: Connection

    def __init__(self, server: PostgresServer, database: str = DATABASE) -> None:
        self.server = server
        self._database = database
        self._open: list[asyncpg.Connection[asyncpg.Record]] = []

    async def make(self, table: ClaimTable) -> None:
        """Create the users and their queue, for the job of `table`, in an empty database."""
        owner = await self._connect(self.server.dsn_of(self._database))
        await schema.apply(owner, table, resources.files("users_batch") / "migrations")
        await self.connect()

    async def connect(self) -> None:
        """Open the connections, or reopen them."""
        await self.disconnect()
        self.owner = await self._connect(self.server.dsn_of(self._database))
        self.scaler = await self._connect(self.server.dsn_of(self._database, SCALER))

    async def crash(self) -> None:
        """Crash the server and start it again."""
        await self.disconnect()
        await asyncio.to_thread(self.server.stop_immediately)
        await asyncio.to_thread(self.server.start)
        await self.connect()

    async def disconnect(self) -> None:
        """Close all connections, including those to a dead server."""
        for connection in self._open:
            connection.terminate()
        self._open.clear()
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    async def claimable(self) -> int:
        """Read the number that KEDA sees."""
        return int(await self.scaler.fetchval(SCALER_QUERY))

    async def moment(self) -> Moment:
        """Read KEDA's number and a full count in one snapshot, with one `now()`."""
        async with self.owner.transaction(isolation="repeatable_read"):
            await self.owner.execute(f"SET LOCAL ROLE {SCALER}")
            claimable = await self.owner.fetchval(SCALER_QUERY)
            await self.owner.execute("RESET ROLE")
            return Moment(claimable, **await self.one(_FULL_COUNT))

    async def one(self, query: str, *arguments: object) -> dict[str, Any]:
        """Read the only row of `query`, by column."""
        [found] = await self.owner.fetch(query, *arguments)
        return dict(found)

    async def settled_rows(self) -> int:
        """Read the number of settled rows, by the counts of the batches."""
        return int(await self.owner.fetchval("SELECT coalesce(sum(completed + failed), 0) FROM batch_jobs"))

    async def pods(self) -> set[str]:
        """Read the workers that have ever claimed rows."""
        return {row[0] for row in await self.owner.fetch("SELECT DISTINCT pod_name FROM batch_jobs")}

    async def holders(self) -> set[str]:
        """Read the workers that hold rows now."""
        found = await self.owner.fetch("SELECT pod_name FROM batch_jobs WHERE status = 'running'")
        return {row[0] for row in found}

    async def is_done(self) -> bool:
        """Return whether no row waits for a worker or a retry, and no batch is open."""
        return bool(
            await self.owner.fetchval(
                "SELECT NOT EXISTS (SELECT FROM keda_jobs.users_queue)"
                " AND NOT EXISTS (SELECT FROM keda_jobs.batch_jobs WHERE status = 'running')"
            )
        )

    async def _connect(self, dsn: str) -> asyncpg.Connection[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        self._open.append(connection)
        return connection
