"""All failed rows of a claim queue: those in the table, and those that are set aside."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

from keda_jobs.claims.failed_rows import FailedRow, FailedRowCount, FailedRows, RowFilter
from keda_jobs.claims.set_aside_rows import SetAsideRows
from keda_jobs.claims.table import ClaimTable
from keda_jobs.postgres import Connection


class QueueFailures:
    """Failed rows of one queue, wherever they are. Methods raise `DatabaseUnavailable` and `Misconfigured`."""

    def __init__(self, connection: Connection, table: ClaimTable) -> None:
        self._sources = (FailedRows(connection, table), SetAsideRows(connection, table))

    @property
    def locked(self) -> Counter[str]:
        """Number of rows that `reset_all` left out because somebody has locked them, by who that is."""
        return sum((source.locked for source in self._sources), Counter())

    async def count(self, row_filter: RowFilter) -> FailedRowCount:
        """Count the selected rows. This reads the failed rows of the table, and no others."""
        counts = [await source.count(row_filter) for source in self._sources]
        return FailedRowCount(*map(sum, zip(*counts, strict=True)))

    async def find(self, row_filter: RowFilter, most: int, *, after: int | None = None) -> list[FailedRow]:
        """Return the first `most` selected rows after the key `after`, in key order."""
        found = [await source.find(row_filter, most, after=after) for source in self._sources]
        return sorted((row for rows in found for row in rows), key=lambda row: row.key)[:most]

    async def pages(
        self, row_filter: RowFilter, size: int, limit: int | None = None
    ) -> AsyncGenerator[list[FailedRow]]:
        """Yield the selected rows of the table in key order, then those that are set aside, or the first `limit`."""
        rows = 0
        for source in self._sources:
            async with aclosing(source.pages(row_filter, size, None if limit is None else limit - rows)) as pages:
                async for page in pages:
                    rows += len(page)
                    yield page

    async def reset_all(self, row_filter: RowFilter, stop: asyncio.Event) -> AsyncGenerator[int]:
        """Reset the selected rows in transactions of 5000, until `stop` is set. Yield the number reset so far."""
        reset = 0
        for source in self._sources:
            before = reset
            async with aclosing(source.reset_all(row_filter, stop)) as resets:
                async for number in resets:
                    reset = before + number
                    yield reset
