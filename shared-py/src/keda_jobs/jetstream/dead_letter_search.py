"""Search for dead letters, the newest first, among any number of them."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.dead_letters import (
    DeadLetterFilter,
    Snapshot,
    count_from,
    find_dead_letter,
    select_dead_letters,
)
from keda_jobs.jetstream.reader import first_since

_EXCERPT = 200
# The server reads forward only, so the search goes back in blocks of dead letters, each of once to twice this number.
_BLOCK = 500


@dataclass(frozen=True, slots=True)
class Summary:
    """Dead letter without its headers, and with the beginning of its data."""

    sequence: int
    died_at: datetime
    job: str
    subject: str
    error_class: str
    reason: str
    num_delivered: int
    data: str

    @classmethod
    def of(cls, dead: DeadLetter) -> Summary:
        """Summarize a dead letter."""
        return cls(
            sequence=dead.sequence,
            died_at=dead.died_at,
            job=dead.job,
            subject=dead.subject,
            error_class=dead.error_class,
            reason=dead.reason,
            num_delivered=dead.num_delivered,
            data=dead.text[:_EXCERPT],
        )


class DeadLetterSearch:
    """Search for the newest `limit` selected dead letters, or the newest below sequence `before`.

    `found` grows while it runs, the newest first. `looked` of `stored` dead letters have been looked at. It
    `is_complete` once it has found `limit`, or looked at all. Run again, it takes in what has changed.
    """

    def __init__(self, selection: DeadLetterFilter, before: int | None, limit: int) -> None:
        self.found: list[Summary] = []
        self.stored = 0
        self.is_complete = False
        self._selection = selection
        self._before = before
        self._limit = limit
        self._has_begun = False
        self._block = limit if selection.is_everything else _BLOCK
        # The dead letters from `_bottom` to below `_top` have been looked at. There is none to find below `_floor`.
        self._top = self._bottom = self._floor = 0
        # Numbers of dead letters from `_bottom` on, and from `_top` on.
        self._from_bottom = self._from_top = 0

    @property
    def looked(self) -> int:
        """Number of dead letters that were looked at."""
        return self._from_bottom - self._from_top

    @property
    def has_older(self) -> bool:
        """True while there may be more below the last one that was found."""
        return self.looked < self.stored

    async def run(self, connection: NatsConnection) -> None:
        """Search until it is complete. Raises `BrokerUnavailable`."""
        snapshot = await Snapshot.take(connection)
        if not self._has_begun:
            await self._begin(connection, snapshot)
        elif await self._has_changed(connection):
            await self._take_in_changes(connection, snapshot)
        while not self.is_complete:
            await self._look_at_block(connection, snapshot)

    async def _begin(self, connection: NatsConnection, snapshot: Snapshot) -> None:
        self.found, self.is_complete = [], False
        self._floor, self._top = 1, min(self._before or snapshot.last + 1, snapshot.last + 1)
        if self._selection.newer_than is not None:
            first = await first_since(connection, snapshot.now - self._selection.newer_than)
            self._floor = min(first or self._top, self._top)
        if self._selection.older_than is not None:
            first = await first_since(connection, snapshot.now - self._selection.older_than)
            self._before = self._top = min(first or self._top, self._top)
        self._bottom = self._top
        self._from_top = self._from_bottom = await count_from(connection, self._top)
        self.stored = await count_from(connection, self._floor) - self._from_top
        self._has_begun = True

    async def _has_changed(self, connection: NatsConnection) -> bool:
        now = (await count_from(connection, self._bottom), await count_from(connection, self._top))
        return now != (self._from_bottom, self._from_top)

    async def _take_in_changes(self, connection: NatsConnection, snapshot: Snapshot) -> None:
        """Drop what is gone, add what is new. Where many are new, begin again."""
        if self._before is None and await count_from(connection, self._top) > self._block:
            self._has_begun = False
            await self._begin(connection, snapshot)
            return
        self.found = [one for one in self.found if await find_dead_letter(connection, one.sequence) is not None]
        if self._before is None:
            self.found = await self._select(connection, snapshot, self._top, snapshot.last) + self.found
            self._top = snapshot.last + 1
        self._from_top = await count_from(connection, self._top)
        self._from_bottom = await count_from(connection, self._bottom)
        self.stored = await count_from(connection, self._floor) - self._from_top
        await self._finish(connection)

    async def _look_at_block(self, connection: NatsConnection, snapshot: Snapshot) -> None:
        start, count = await self._find_block(connection)
        if count > 0:
            self.found += await self._select(connection, snapshot, start, self._bottom - 1)
        self._bottom = start
        self._from_bottom += count
        await self._finish(connection)

    async def _finish(self, connection: NatsConnection) -> None:
        if len(self.found) > self._limit:
            self.found = self.found[: self._limit]
            self._bottom = self.found[-1].sequence
            self._from_bottom = await count_from(connection, self._bottom)
        self.is_complete = len(self.found) == self._limit or self._bottom <= self._floor

    async def _select(self, connection: NatsConnection, snapshot: Snapshot, first: int, last: int) -> list[Summary]:
        """Return those with the numbers from `first` to `last`, the newest first."""
        span = Snapshot(snapshot.now, last)
        async with aclosing(select_dead_letters(connection, self._selection, span, first=first)) as selected:
            return [Summary.of(dead) async for dead in selected][::-1]

    async def _find_block(self, connection: NatsConnection) -> tuple[int, int]:
        """Return where the next block starts, and how many dead letters it has."""
        span = self._block
        # Other messages lie between dead letters, so the span grows until it has enough of them.
        while True:
            start = max(self._floor, self._bottom - span)
            count = await count_from(connection, start) - self._from_bottom
            if count > 2 * self._block:
                return await self._narrow(connection, start)
            if count >= self._block or start == self._floor:
                return start, count
            span *= 4

    async def _narrow(self, connection: NatsConnection, low: int) -> tuple[int, int]:
        """Return a block as `_find_block` does, which starts above `low`, because from there it is too large."""
        high = self._bottom
        while True:
            middle = (low + high) // 2
            count = await count_from(connection, middle) - self._from_bottom
            if count > 2 * self._block and high - middle > 1:
                low = middle
            elif count < self._block and middle - low > 1:
                high = middle
            else:
                return middle, count
