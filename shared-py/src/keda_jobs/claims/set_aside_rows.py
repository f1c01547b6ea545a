"""Rows that are set aside in a claim queue: find them, and let workers try them again."""
# ruff: noqa: S608 - names come from ClaimTable, which accepts only identifiers

from __future__ import annotations

from collections.abc import Sequence

from keda_jobs.claims.failed_rows import FailedRow, FailedRowCount, FailedRows
from keda_jobs.claims.statements import BY_KEYS
from keda_jobs.claims.table import ClaimTable
from keda_jobs.postgres import Connection


class SetAsideRows(FailedRows):
    """Rows set aside, because they could not be claimed or written. They are selected and reset as failed rows are."""

    def __init__(self, connection: Connection, table: ClaimTable) -> None:
        super().__init__(connection, table)
        name, key, queue = table.sql_name, table.sql_key, table.queue
        selected = f"""
FROM {queue} AS aside JOIN {name} AS row ON row.{key} = aside.lo AND row.batch_status = aside.batch_status
  AND row.next_attempt_at = aside.next_attempt_at AND row.batch_id IS NOT DISTINCT FROM aside.from_batch
WHERE aside.error IS NOT NULL AND aside.batch_id IS NULL AND ($1::bigint[] IS NULL OR aside.lo = ANY($1))
  AND ($2::text IS NULL OR aside.error LIKE $2)
  AND ($3::boolean IS NULL OR (aside.held_back_until = 'infinity') = $3)"""
        self._sql.count = f"SELECT count(*), count(*) FILTER (WHERE aside.held_back_until = 'infinity') {selected}"
        self._sql.find = f"""
SELECT row.{key}, row.attempts + aside.tries, nullif(aside.held_back_until, 'infinity'), row.batch_id, aside.error,
  NULL::text
{selected} AND ($4::bigint IS NULL OR aside.lo > $4) ORDER BY aside.lo LIMIT $5"""
        self._release = f"""
WITH released AS (
  UPDATE {queue} SET held_back_until = NULL, tries = 0, error = NULL
  WHERE error IS NOT NULL AND batch_id IS NULL AND lo = ANY($1) RETURNING 1
)
SELECT count(*) FROM released"""
        self._free = f"""
SELECT lo FROM {queue} WHERE error IS NOT NULL AND batch_id IS NULL AND lo = ANY($1) FOR UPDATE SKIP LOCKED"""

    async def reset(self, rows: Sequence[FailedRow]) -> FailedRowCount:
        """Make rows claimable, with no tries, unless they were claimed since they were found."""
        async with self._transaction({**BY_KEYS, "lock_timeout": "2s"}):
            released = await self._connection.fetchval(self._release, [row.key for row in rows])
        return FailedRowCount(released, 0)

    async def _find_free(self, rows: Sequence[FailedRow]) -> set[int]:
        """Return the keys of rows whose ranges nobody has locked. The rows themselves are not written."""
        return {record[0] for record in await self._connection.fetch(self._free, [row.key for row in rows])}
