"""Dead letters counted by job. Each one is read once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import DEAD_LETTER
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import read_page

# One call reads up to this many, so that it takes a second or two.
MAX_DEAD_LETTERS = 10_000
_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class DeadLetterCounts:
    """Dead letters in all, and by job their number and when the oldest was stored.

    Where `is_exact` is false, only the oldest dead letters are counted by job.
    """

    total: int
    by_job: dict[str, int]
    oldest: dict[str, datetime]
    is_exact: bool


class DeadLetterCounter:
    """Counter that keeps its counts: it starts again only after a dead letter was deleted."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._by_job: Counter[str] = Counter()
        self._oldest: dict[str, datetime] = {}
        self._position = 0

    async def read(self, connection: NatsConnection) -> DeadLetterCounts:
        """Count the dead letters. Raises `BrokerUnavailable`."""
        left = await self._count_new(connection)
        # Read last, so that a new dead letter does not look like a deleted one.
        total = (await read_page(connection, DEAD_LETTER, 1, 1)).count
        if self._by_job.total() + left > total:
            self._reset()
            left = await self._count_new(connection)
            total = self._by_job.total() + left
        return DeadLetterCounts(total, dict(self._by_job), dict(self._oldest), is_exact=not left)

    async def _count_new(self, connection: NatsConnection) -> int:
        """Count up to `MAX_DEAD_LETTERS` more, and return how many are left."""
        enough = self._by_job.total() + MAX_DEAD_LETTERS
        while True:
            limit = min(_PAGE_SIZE, enough - self._by_job.total())
            page = await read_page(connection, DEAD_LETTER, self._position + 1, limit)
            for message in page.messages:
                job = message.headers.get(Header.JOB, "")
                self._by_job[job] += 1
                self._oldest.setdefault(job, message.stored_at)
                self._position = message.sequence
            if not page.left or self._by_job.total() >= enough:
                return page.left
