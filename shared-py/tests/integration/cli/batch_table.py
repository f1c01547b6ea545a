"""A table with a claim queue that tests fill, work on and check."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from keda_jobs.claims import Batch, ClaimQueue, ClaimTable, Failure, schema
from keda_jobs.claims.rows import CompletedRow
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import Connection, open_connection, open_pool
from keda_jobs.settings import PgSettings

T = TypeVar("T")
WAIT = 3600.0
"""Seconds until the retry of a waiting row."""

# Ranges with a wrong count, and waiting rows that are not in exactly one range.
_WRONG_RANGES = """
SELECT range.lo, range.hi, range.claimable, count(row.word_id)
FROM keda_jobs.words_queue AS range JOIN keda_jobs.words_queue_spans AS span USING (range_id)
  LEFT JOIN words AS row ON row.word_id BETWEEN span.lo AND span.hi
  AND row.batch_status = span.batch_status AND row.next_attempt_at = span.next_attempt_at
  AND row.batch_id IS NOT DISTINCT FROM span.from_batch
WHERE range.batch_id IS NULL GROUP BY range.range_id HAVING range.claimable <> count(row.word_id)"""
_MISPLACED_ROWS = """
SELECT row.word_id, count(span.range_id)
FROM words AS row LEFT JOIN keda_jobs.words_queue_spans AS span ON row.word_id BETWEEN span.lo AND span.hi
  AND row.batch_status = span.batch_status AND row.next_attempt_at = span.next_attempt_at
  AND row.batch_id IS NOT DISTINCT FROM span.from_batch AND span.batch_id IS NULL
WHERE row.batch_status IN ('pending', 'failed') AND row.next_attempt_at < 'infinity'
GROUP BY 1 HAVING count(span.range_id) <> 1"""
_CLAIMABLE = """
SELECT (SELECT rows FROM keda_jobs.words_claimable) AS seen, (
  SELECT count(*) FROM words WHERE batch_status IN ('pending', 'failed') AND next_attempt_at <= now()
) + (
  SELECT count(*) FROM words JOIN batch_jobs USING (batch_id)
  WHERE batch_status = 'processing' AND status = 'running' AND lease_expires_at <= now()
) AS counted"""


@dataclass(frozen=True)
class BatchTable:
    """The table `words` with the key `word_id`, queue of the job `words-batch`."""

    dsn: str

    table = ClaimTable("words-batch", "words", "word_id", reads=("word",), writes=("length",))

    @property
    def settings(self) -> PgSettings:
        return PgSettings.model_validate({"pg_dsn": self.dsn})

    def make(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "0001_words.sql").write_text("CREATE TABLE words (word_id bigint PRIMARY KEY, word text, length int)")
        self.do(lambda connection: schema.apply(connection, self.table, folder))

    def do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def run() -> T:
            async with open_connection(self.settings, name="test") as connection:
                return await work(connection)

        return asyncio.run(run())

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        async def fetch(connection: Connection) -> list[tuple[Any, ...]]:
            return [tuple(record) for record in await connection.fetch(query, *arguments)]

        return self.do(fetch)

    def insert(self, *keys: int) -> None:
        self.rows("INSERT INTO words SELECT key, 'word ' || key FROM unnest($1::bigint[]) AS key", list(keys))

    def queue(self, work: Callable[[ClaimQueue], Awaitable[T]], lease_s: float = 600) -> T:
        async def run() -> T:
            async with open_pool(self.settings, name="test", connections=2, call_s=30) as connections:
                queue = await ClaimQueue.bind(
                    connections, self.table, pod_name="pod-1", lease_s=lease_s, call_s=30, policy=RetryPolicy()
                )
                return await work(queue)

        return asyncio.run(run())

    def claim(self, most: int, lease_s: float = 600) -> Batch:
        batch = self.queue(lambda queue: queue.claim(most), lease_s)
        assert batch is not None
        return batch

    def settle(
        self, batch: Batch, *, permanently: Iterable[int] = (), waiting: Iterable[int] = (), error: str = "Bad: it"
    ) -> None:
        """Fail these rows of the batch, complete the others, and close it."""
        delays = dict.fromkeys(permanently, None) | dict.fromkeys(waiting, WAIT)
        failures = [Failure(key, error, delay_s) for key, delay_s in delays.items()]
        completed = [CompletedRow(row, (len(row.values[0]),)) for row in batch.rows if row.key not in delays]

        async def work(queue: ClaimQueue) -> None:
            await queue.settle(batch, completed, failures)
            await queue.close(batch)

        self.queue(work)

    def fill(self) -> Batch:
        """Insert ten rows in all states and return the running batch.

        1 and 2 are completed, 3 to 5 failed permanently, 6 and 7 wait for a retry, 8 is claimed, 9 and 10 are pending.
        """
        self.insert(*range(1, 11))
        self.settle(self.claim(4), permanently=(3, 4), error="Bad: email: missing")
        self.settle(self.claim(1), permanently=(5,), error="Bad: 'five@5.example' is no word")
        self.settle(self.claim(2), waiting=(6, 7), error="TimeoutError: no answer")
        return self.claim(1)

    def make_due(self) -> None:
        """Make every waiting row due now, as an hour would."""
        self.rows(
            "UPDATE words SET next_attempt_at = next_attempt_at - make_interval(secs => $1)"
            " WHERE batch_status = 'failed' AND next_attempt_at < 'infinity'",
            WAIT,
        )

    def move_batch(self, batch_id: int, *, began_s_ago: float, ended_s_ago: float) -> None:
        """Change the times of a completed batch."""
        self.rows(
            "UPDATE keda_jobs.batch_jobs SET started_at = now() - make_interval(secs => $2),"
            " finished_at = now() - make_interval(secs => $3) WHERE batch_id = $1",
            batch_id,
            began_s_ago,
            ended_s_ago,
        )

    def statuses(self) -> dict[int, str]:
        """Read the status of each row, by key. `waiting` and `failed permanently` are both `failed` in the table."""
        return dict(
            self.rows(
                "SELECT word_id, CASE WHEN batch_status <> 'failed' THEN batch_status"
                " WHEN next_attempt_at = 'infinity' THEN 'failed permanently' ELSE 'waiting' END FROM words ORDER BY 1"
            )
        )

    def check(self) -> None:
        """Check that ranges count right, every waiting row is in one, and the scaler sees what is claimable."""
        assert self.rows(_WRONG_RANGES) == []
        assert self.rows(_MISPLACED_ROWS) == []
        ((seen, counted),) = self.rows(_CLAIMABLE)
        assert seen == counted


async def waits_for_a_lock(connection: Connection) -> bool:
    """Return whether another connection to this database waits for a lock."""
    return bool(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )
