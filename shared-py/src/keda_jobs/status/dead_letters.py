"""The dead letters by job, counted by reading each of them once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import DEAD_LETTER
from keda_jobs.jetstream.connection import Client
from keda_jobs.jetstream.reader import page

# So many are read for one answer, to have it within a second or two.
MOST_LETTERS = 10_000
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The dead letters, by job the number and when the oldest was stored; where not `is_exact`, of the oldest only."""

    total: int
    by_job: dict[str, int]
    oldest: dict[str, datetime]
    is_exact: bool


class LetterCount:
    """A count that is kept: what was counted is read again only where a letter has gone since."""

    def __init__(self) -> None:
        self._start_anew()

    def _start_anew(self) -> None:
        self._by_job: Counter[str] = Counter()
        self._oldest: dict[str, datetime] = {}
        self._position = 0

    async def read(self, client: Client) -> DeadLetters:
        """The letters now. Raises `BrokerUnavailable`."""
        left = await self._read_on(client)
        # After the others: then a letter that arrives meanwhile cannot look like one that has gone.
        total = (await page(client, DEAD_LETTER, 1, 1)).count
        if self._by_job.total() + left > total:
            self._start_anew()
            left = await self._read_on(client)
            total = self._by_job.total() + left
        return DeadLetters(total, dict(self._by_job), dict(self._oldest), is_exact=not left)

    async def _read_on(self, client: Client) -> int:
        """Count letters from where it stopped, up to the bound; how many are left."""
        enough = self._by_job.total() + MOST_LETTERS
        while True:
            most = min(_PAGE, enough - self._by_job.total())
            found = await page(client, DEAD_LETTER, self._position + 1, most)
            for letter in found.messages:
                job = letter.headers.get(Header.JOB, "")
                self._by_job[job] += 1
                self._oldest.setdefault(job, letter.stored_at)
                self._position = letter.sequence
            if not found.left or self._by_job.total() >= enough:
                return found.left
