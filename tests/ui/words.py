"""A table with a claim queue that tests of the page fill and work on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from keda_jobs.claims import ClaimQueue, ClaimTable, Failure, schema
from keda_jobs.claims.rows import CompletedRow
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import open_connection, open_pool
from keda_jobs.settings import PgSettings


class Words:
    """The table `words`, queue of the job `words-batch`."""

    table = ClaimTable("words-batch", "words", reads=("word",), writes=("length",))

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.settings = PgSettings.model_validate({"pg_dsn": dsn})

    async def make(self, folder: Path) -> None:
        (folder / "0001_words.sql").write_text("CREATE TABLE words (id bigint PRIMARY KEY, word text, length int)")
        async with open_connection(self.settings, name="test") as connection:
            await schema.apply(connection, self.table, folder)

    async def value(self, query: str, *arguments: object) -> int:
        async with open_connection(self.settings, name="test") as connection:
            return int(await connection.fetchval(query, *arguments) or 0)

    async def insert(self, first: int, last: int) -> None:
        await self.value(
            "INSERT INTO words SELECT key, 'word ' || key FROM generate_series($1::bigint, $2) AS key", first, last
        )

    async def work(self, most: int, *, failing: Collection[int] = (), error: str = "Bad: it") -> None:
        """Claim rows, fail some of them permanently, and complete the others."""
        async with self._queue() as queue:
            batch = await queue.claim(most)
            assert batch is not None
            completed = [CompletedRow(row, (1,)) for row in batch.rows if row.key not in failing]
            failures = [Failure(row.key, error, None) for row in batch.rows if row.key in failing]
            await queue.settle(batch, completed, failures)
            await queue.close(batch)

    @asynccontextmanager
    async def _queue(self) -> AsyncIterator[ClaimQueue]:
        async with open_pool(self.settings, name="test", connections=2, call_s=30) as connections:
            yield await ClaimQueue.bind(
                connections, self.table, pod_name="pod-1", lease_s=600, call_s=30, policy=RetryPolicy()
            )
