"""The claim queue: claim, heartbeat, settle, give back, recover. Every method is one short transaction.

A worker owns a batch through its row in `batch_jobs`, by a lease that heartbeats renew. Every write is fenced: it
succeeds only during the lease, and no other worker can take the batch over while it runs. It is therefore harmless to
repeat a call whose commit got no answer: the rows that it wrote the first time no longer match.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple
from datetime import timedelta
from typing import Self

from keda_jobs.claims.binding import find_table, read_column_types
from keda_jobs.claims.outcomes import refuse_values, write_failures, write_outcomes
from keda_jobs.claims.ranges import select_ranges
from keda_jobs.claims.rows import Batch, ClaimedRow, CompletedRow, Failure, SettledRows
from keda_jobs.claims.statements import BY_KEYS, BY_RANGE, SET_LOCAL, Statements
from keda_jobs.claims.table import ClaimTable
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.errors import JobError
from keda_jobs.postgres import Connection, Pool, transaction
from keda_jobs.runtime.cpu import WorkerDied

# A dead worker's batch comes back in this many parts, each claimed alone: a row that kills its worker is isolated after
# log16(CLAIM_SIZE) more deaths, and its neighbours complete meanwhile.
_PARTS = 16

# Rows that the table does not let a worker update are tried again after this time.
_HOLD_BACK = timedelta(seconds=60)

log = logging.getLogger(__name__)


class LeaseLost(JobError):
    """The lease of the batch expired, so another worker may have it."""


_NOTHING = SettledRows()


class ClaimQueue:
    """Claim queue of one table, for the worker `pod_name`.

    Every method raises `DatabaseUnavailable` when waiting may help, and `Misconfigured` when the schema or a right is
    missing.
    """

    def __init__(
        self,
        pool: Pool,
        table: ClaimTable,
        types: Mapping[str, str],
        pod_name: str,
        lease_s: float,
        policy: RetryPolicy,
    ) -> None:
        self._pool = pool
        self._batch_name = table.batch_name
        self._sql = Statements(table, types)
        self._pod_name = pod_name
        self._lease = timedelta(seconds=lease_s)
        self._policy = policy

    @classmethod
    async def bind(cls, pool: Pool, table: ClaimTable, *, pod_name: str, lease_s: float, policy: RetryPolicy) -> Self:
        """Open the queue of `table`. Raises `Misconfigured` as `read_column_types` does."""
        async with transaction(pool) as connection:
            table = await find_table(connection, table)
            types = await read_column_types(connection, table)
        return cls(pool, table, types, pod_name, lease_s, policy)

    async def claimable(self) -> int:
        """Return the number of rows that can be claimed now, which is what the scaler sees."""
        async with transaction(self._pool) as connection:
            return int(await connection.fetchval(self._sql.claimable))

    async def claim(self, most: int, *, suspects: bool = True) -> Batch | None:
        """Claim up to `most` rows. Return None when every claimable row is locked by another claim, or none is left.

        Without `suspects` rows are claimed only up to the next ones that may kill their worker, because another batch
        of the worker would die with them.
        """
        while True:
            async with self._transaction(BY_RANGE) as connection:
                selection = await select_ranges(connection, self._sql, most, suspects=suspects)
                if not selection.range_ids:
                    return None
                [(batch_id, version)] = await connection.fetch(
                    self._sql.insert_batch, self._batch_name, self._pod_name, self._lease
                )
                expected = await connection.fetchval(self._sql.hold, batch_id, selection.range_ids)
                rows = await connection.fetch(self._sql.claim, batch_id)
                if len(rows) != expected:
                    await self._correct_ranges(connection, batch_id)
                if rows:
                    await connection.execute(self._sql.set_claimed, batch_id, len(rows), self._lease)
                    claimed = [ClaimedRow(row[0], row[1], row[2:]) for row in rows]
                    return Batch(batch_id, version, claimed, selection.is_suspect)
                await connection.execute(self._sql.release, batch_id)
                await connection.execute(self._sql.delete_batch, batch_id)

    async def renew(self, batch: Batch) -> None:
        """Renew the lease of the batch. Raises `LeaseLost`."""
        async with self._fenced(batch, BY_KEYS) as (connection, is_closed):
            if not is_closed:
                await connection.execute(self._sql.renew, batch.batch_id, self._lease)

    async def settle(self, batch: Batch, completed: Sequence[CompletedRow], failures: Sequence[Failure]) -> SettledRows:
        """Write results and failures of rows of the batch. The last of its rows closes the batch.

        Raises `LeaseLost`, and `ValuesRefused` when the table refuses a value that a handler returned.
        """
        with refuse_values():  # deferred constraints raise at the end of the transaction
            async with self._fenced(batch, BY_KEYS) as (connection, is_closed):
                if is_closed:
                    return _NOTHING
                return await self._settle(connection, batch, completed, failures)

    async def close(self, batch: Batch, error: str | None = None) -> int:
        """Close the batch, as `failed` if there is an error. Give unsettled rows back and return their number.

        Raises `LeaseLost`.
        """
        async with self._fenced(batch, BY_RANGE) as (connection, is_closed):
            if is_closed:
                return 0
            return await self._close(connection, batch.batch_id, "failed" if error else "completed", error)

    async def recover(self) -> int | None:
        """Take one batch with an expired lease and free its rows. Return their number, None if there is no such batch.

        The rows come back in parts that are claimed alone. Such a part of a single row counts as a failure of that row,
        so even a row that kills its worker is tried only up to the limit.
        """
        async with self._transaction(BY_RANGE) as connection:
            expired = await connection.fetchrow(self._sql.take_expired_batch)
            if expired is None:
                return None
            batch_id, rows = expired["batch_id"], int(expired["rows"])
            failed = await self._fail_only_row(connection, batch_id) if rows == 1 else _NOTHING
            reason = f"the lease of {expired['pod_name']} expired"
            await self._close(connection, batch_id, "abandoned", reason, failed, parts=_PARTS)
            return rows

    async def _correct_ranges(self, connection: Connection, batch_id: int) -> None:
        """Queue rows again that the claim did not get although they wait, and recount ranges that it took rows from."""
        await connection.execute(self._sql.recount_overlapping, batch_id)
        if unclaimed := await connection.fetchval(self._sql.hold_back, batch_id, _HOLD_BACK):
            log.warning(
                "%d rows could not be claimed, trying them again in %g s; see which trigger of the table skips updates",
                unclaimed,
                _HOLD_BACK.total_seconds(),
            )

    async def _settle(
        self, connection: Connection, batch: Batch, completed: Sequence[CompletedRow], failures: Sequence[Failure]
    ) -> SettledRows:
        settled = await write_outcomes(connection, self._sql, batch, completed, failures)
        was_last = await connection.fetchval(self._sql.add_counts, batch.batch_id, *astuple(settled), self._lease)
        # In the same transaction: if the worker died before closing it, no claimable row would call another worker.
        if was_last:
            await connection.execute(self._sql.release, batch.batch_id)
            await connection.execute(self._sql.close_batch, batch.batch_id, "completed", None, 0, 0)
        return settled

    async def _fail_only_row(self, connection: Connection, batch_id: int) -> SettledRows:
        found = await connection.fetchrow(self._sql.only_row, batch_id)
        if found is None:  # deleted meanwhile
            return _NOTHING
        row = ClaimedRow(found[0], found[1], ())
        decision = self._policy.after_failure(WorkerDied(), row.attempts + 1)
        return await write_failures(connection, self._sql, batch_id, [Failure.of(row, decision)])

    async def _close(
        self,
        connection: Connection,
        batch_id: int,
        status: str,
        error: str | None,
        failed: SettledRows = _NOTHING,
        parts: int = 1,
    ) -> int:
        returned = int(await connection.fetchval(self._sql.give_back, batch_id, status == "abandoned", parts))
        counts = failed.failed, failed.failed_permanently
        if kept := await connection.fetchval(self._sql.not_returned, batch_id):
            log.warning(
                "batch %d: %d rows could not be given back, trying again in %g s;"
                " see which trigger of the table skips updates",
                batch_id,
                kept,
                _HOLD_BACK.total_seconds(),
            )
            await connection.execute(self._sql.keep_batch, batch_id, *counts, kept, _HOLD_BACK)
        else:
            await connection.execute(self._sql.release, batch_id)
            await connection.execute(self._sql.close_batch, batch_id, status, error, *counts)
        return returned

    @asynccontextmanager
    async def _transaction(self, settings: Mapping[str, str]) -> AsyncIterator[Connection]:
        async with transaction(self._pool) as connection:
            await connection.execute(SET_LOCAL, list(settings), list(settings.values()))
            yield connection

    @asynccontextmanager
    async def _fenced(self, batch: Batch, settings: Mapping[str, str]) -> AsyncIterator[tuple[Connection, bool]]:
        """Hold off other workers during a transaction. Yield whether the batch is closed. Raises `LeaseLost`."""
        async with self._transaction(settings) as connection:
            found = await connection.fetchrow(self._sql.fence, batch.batch_id)
            is_closed = found is not None and found["status"] in ("completed", "failed")
            if not is_closed and (found is None or not found["is_ours"]):
                raise LeaseLost(f"batch {batch.batch_id}: the lease of {self._lease.total_seconds():g} s expired")
            yield connection, is_closed
