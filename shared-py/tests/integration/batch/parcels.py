"""Table of parcels that tests fill and workers process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg

from keda_jobs.claims import ClaimTable, schema
from keda_jobs.postgres import Connection
from stack import PostgresServer

FOLDER = Path(__file__).parent
JOB = "scripted-batch"
ROLE = "parcels_worker"
_TABLE = ClaimTable(JOB, "parcels", reads=("id", "kind", "attempts"), writes=("label", "size"))


class Parcels:
    """The table and its batches, seen by their owner."""

    owner: Connection

    def __init__(self, server: PostgresServer, database: str) -> None:
        self.server = server
        self.database = database

    @property
    def dsn(self) -> str:
        """Address by which workers connect."""
        return self.server.dsn_of(self.database, ROLE)

    async def connect(self) -> None:
        self.owner = await asyncpg.connect(self.server.dsn_of(self.database))

    async def apply_schema(self) -> None:
        await schema.apply(self.owner, _TABLE, FOLDER / "scripted_batch" / "migrations")

    async def disconnect(self) -> None:
        self.owner.terminate()
        await asyncio.sleep(0)  # the socket is closed in the loop's next turn

    async def insert(self, **kinds: int) -> None:
        """Insert parcels of these kinds, in this order: `insert(fine=10, fails_once=1)`."""
        for kind, number in kinds.items():
            await self.owner.execute(
                "INSERT INTO parcels (kind) SELECT $1 FROM generate_series(1, $2::int)", kind.replace("_", " "), number
            )

    async def all(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.owner.fetch(query, *arguments)]

    async def one(self, query: str, *arguments: object) -> dict[str, Any]:
        [found] = await self.all(query, *arguments)
        return found

    async def value(self, query: str, *arguments: object) -> Any:
        return await self.owner.fetchval(query, *arguments)

    async def only(self, kind: str) -> dict[str, Any]:
        """Read the only parcel of a kind. `wait_s` is the time until its retry, by the server's clock."""
        return await self.one(
            "SELECT *, (extract(epoch FROM next_attempt_at) - extract(epoch FROM now()))::float8 AS wait_s,"
            " next_attempt_at = 'infinity' AS is_final FROM parcels WHERE kind = $1",
            kind,
        )

    async def statuses(self) -> dict[str, int]:
        """Count the parcels by status."""
        found = await self.all("SELECT batch_status, count(*) AS rows FROM parcels GROUP BY 1")
        return {row["batch_status"]: row["rows"] for row in found}

    async def claimable(self) -> int:
        return int(await self.value("SELECT rows FROM keda_jobs.parcels_claimable"))

    async def batches(self) -> list[dict[str, Any]]:
        return await self.all("SELECT * FROM batch_jobs ORDER BY batch_id")

    async def batch(self) -> dict[str, Any]:
        """Read the only batch."""
        [found] = await self.batches()
        return found

    async def written_twice(self) -> list[int]:
        """Read the parcels whose result was written more than once."""
        return [row["id"] for row in await self.all("SELECT id FROM ledger GROUP BY id HAVING count(*) > 1")]

    async def make_due(self) -> None:
        """Make failed parcels due for their retry."""
        await self.owner.execute(
            "UPDATE parcels SET next_attempt_at = now() WHERE batch_status = 'failed' AND next_attempt_at < 'infinity'"
        )
