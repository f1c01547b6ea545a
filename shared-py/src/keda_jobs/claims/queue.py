"""The claim queue: claim, heartbeat, settle, give back, recover. Every method is one short transaction.

A worker owns a batch through its row in `batch_jobs`, by a lease that heartbeats renew. Every write is fenced: it
succeeds only during the lease, and no other worker can take the batch over while it runs. It is therefore harmless to
repeat a call whose commit got no answer: the rows that it wrote the first time no longer match.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Self, TypeVar

from keda_jobs.claims.binding import find_table, read_column_types
from keda_jobs.claims.locks import find_table_holders
from keda_jobs.claims.ranges import select_ranges
from keda_jobs.claims.rows import Batch, CompletedRow, Failure, QueueHold, SettledRows
from keda_jobs.claims.statements import BY_KEYS, CLAIM, SET_LOCAL, SETTLE, Statements
from keda_jobs.claims.table import ClaimTable
from keda_jobs.claims.writers import CarefulWriter, Writer
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.errors import JobError
from keda_jobs.postgres import (
    Connection,
    Pool,
    StatementCancelled,
    StatementGivenUp,
    StatementRefused,
    storable,
    transaction,
)

# After a claim has failed because of a row, as many rows are claimed in parts, so many at a time: were each refused,
# they would take about a second. After one that took too long they are few, because each row may take long.
_CAREFUL_ROWS, _SLOW_ROWS = 5000, 100
# A statement may take this part of the time of a call, so that the server gives it up before the driver does. The
# driver cannot tell a statement that takes too long from a server that is away.
_STATEMENT = 1 / 2

T = TypeVar("T")
log = logging.getLogger(__name__)


async def _in_parts_if_refused(write: Callable[[type[Writer]], Awaitable[T]]) -> T:
    """Write all rows at once, and if a row makes that fail, in parts."""
    try:
        return await write(Writer)
    except (StatementRefused, StatementGivenUp) as error:
        log.debug("writing in parts: %s", error)
        return await write(CarefulWriter)


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
        sql: Statements,
        pod_name: str,
        lease_s: float,
        call_s: float,
        policy: RetryPolicy,
    ) -> None:
        self._pool = pool
        self._table = sql.table
        self._sql = sql
        self._pod_name = pod_name
        self._lease = timedelta(seconds=lease_s)
        self._statement_limit = {"statement_timeout": f"{math.ceil(call_s * _STATEMENT * 1000)}ms"}
        self._policy = policy
        self._careful_rows = 0
        self._careful_claim = _CAREFUL_ROWS
        self._refused_results = 0
        self.on_hold: Callable[[QueueHold], None] = lambda hold: None
        """Called when a write of a batch finds a hold of the queue."""

    @classmethod
    async def bind(
        cls, pool: Pool, table: ClaimTable, *, pod_name: str, lease_s: float, call_s: float, policy: RetryPolicy
    ) -> Self:
        """Open the queue of `table`. A call of `pool` takes up to `call_s` seconds.

        Raises `Misconfigured` as `read_column_types` does.
        """
        async with transaction(pool) as connection:
            table = await find_table(connection, table)
            types = await read_column_types(connection, table)
        return cls(pool, Statements(table, types), pod_name, lease_s, call_s, policy)

    async def claimable(self) -> int:
        """Return the number of rows that can be claimed now, which is what the scaler sees."""
        async with transaction(self._pool) as connection:
            return int(await connection.fetchval(self._sql.ranges.claimable))

    async def hold(self, hold: QueueHold) -> None:
        """Let all workers of the queue wait, at most a day. This shortens no other hold."""
        async with transaction(self._pool) as connection:
            reason = storable(connection, hold.reason)
            await connection.execute(self._sql.batches.hold_queue, hold.delay_s, reason)

    async def held(self) -> QueueHold | None:
        """Return the hold of the queue, if there is one."""
        async with transaction(self._pool) as connection:
            found = await connection.fetchrow(self._sql.batches.held)
            return QueueHold(*found) if found else None

    async def claim(self, most: int, *, suspects: bool = True) -> Batch | None:
        """Claim up to `most` rows. Return None when every claimable row is locked by another claim, or none is left.

        A row that cannot be claimed is set aside. Without `suspects` rows are claimed only up to the next ones that may
        kill their worker, because another batch of the worker would die with them.
        """
        batch = await self._claim(most, suspects)
        while batch is not None and not batch.rows:
            batch = await self._claim(most, suspects)
        return batch

    async def renew(self, batch: Batch) -> None:
        """Renew the lease of the batch. Raises `LeaseLost`."""
        async with self._fenced(batch, BY_KEYS) as (connection, is_closed):
            if not is_closed:
                await connection.execute(self._sql.batches.renew, batch.batch_id, self._lease)

    async def settle(self, batch: Batch, completed: Sequence[CompletedRow], failures: Sequence[Failure]) -> SettledRows:
        """Write results and failures of rows of the batch. The last of its rows closes the batch.

        A row whose values the table refuses fails, and one that cannot be written at all is set aside.
        Raises `LeaseLost`.
        """

        async def settle(write: type[Writer]) -> SettledRows:
            async with self._fenced(batch, SETTLE) as (connection, is_closed):
                if is_closed:
                    return _NOTHING
                writer = await write.begin(connection, self._sql, self._policy, batch.batch_id)
                await writer.settle(batch, completed, failures)
                await writer.count(self._lease)
                self._refused_results = writer.refused
                return writer.settled

        if self._refused_results:  # by the last call, so probably by this one too
            return await settle(CarefulWriter)
        return await _in_parts_if_refused(settle)

    async def close(self, batch: Batch, error: str | None = None) -> int:
        """Close the batch, as `failed` if there is an error. Give unsettled rows back and return their number.

        Raises `LeaseLost`.
        """

        async def close(write: type[Writer]) -> int:
            async with self._fenced(batch, CLAIM) as (connection, is_closed):
                if is_closed:
                    return 0
                writer = await write.begin(connection, self._sql, self._policy, batch.batch_id)
                return await writer.close("failed" if error else "completed", error)

        return await _in_parts_if_refused(close)

    async def sum_up_old_batches(self) -> int:
        """Delete up to 1000 batches that ended 30 days ago, keep their sums, and return their number."""
        async with transaction(self._pool) as connection:
            return int(await connection.fetchval(self._sql.batches.sum_up_old_batches))

    async def recover(self) -> int | None:
        """Take one batch with an expired lease and free its rows. Return their number, None if there is no such batch.

        The rows come back to be claimed alone. When another worker dies over them, they come back in parts. The death
        over a single row counts as its failure, so even a row that kills its worker is tried only up to the limit.
        """

        async def recover(write: type[Writer]) -> int | None:
            async with self._transaction(CLAIM) as connection:
                expired = await connection.fetchrow(self._sql.take_expired_batch)
                if expired is None:
                    return None
                writer = await write.begin(connection, self._sql, self._policy, expired["batch_id"])
                rows = int(expired["rows"])
                if rows == 1:
                    await writer.fail_only_row()
                await writer.close("abandoned", f"the lease of {expired['pod_name']} expired")
                return rows

        return await _in_parts_if_refused(recover)

    async def _claim(self, most: int, suspects: bool) -> Batch | None:
        """Claim rows. The batch is empty where none of the held ranges has a row that can be claimed."""
        if self._careful_rows <= 0:
            try:
                return await self._claim_by(Writer, most, suspects)
            except (StatementRefused, StatementGivenUp) as error:
                log.debug("claiming in parts: %s", error)
                self._careful_rows = most
                self._careful_claim = _SLOW_ROWS if isinstance(error, StatementCancelled) else _CAREFUL_ROWS
        most = min(most, self._careful_claim)
        self._careful_rows -= most
        try:
            return await self._claim_by(CarefulWriter, most, suspects)
        except StatementGivenUp as error:
            async with transaction(self._pool) as connection:
                holders = await find_table_holders(connection, self._table)
            locked = f"; {self._table.name} is locked by {holders}" if holders else ""
            raise StatementGivenUp(f"{error}{locked}") from error

    async def _claim_by(self, write: type[Writer], most: int, suspects: bool) -> Batch | None:
        async with self._transaction(CLAIM) as connection:
            selection = await select_ranges(connection, self._sql, most, suspects=suspects)
            if not selection.range_ids:
                return None
            [(batch_id, version)] = await connection.fetch(
                self._sql.batches.insert_batch, self._table.batch_name, self._pod_name, self._lease
            )
            expected = await connection.fetchval(self._sql.ranges.hold, batch_id, selection.range_ids)
            writer = await write.begin(connection, self._sql, self._policy, batch_id, version)
            batch = await writer.claim(expected)
            if claimed := len(batch.rows) + writer.settled.rows + writer.aside:
                await connection.execute(self._sql.batches.set_claimed, batch_id, claimed, self._lease)
            else:
                await connection.execute(self._sql.ranges.release, batch_id)
                await connection.execute(self._sql.batches.delete_batch, batch_id)
            if claimed > len(batch.rows):
                await writer.count(self._lease)
            return replace(batch, is_suspect=selection.is_suspect)

    @asynccontextmanager
    async def _transaction(self, settings: Mapping[str, str]) -> AsyncIterator[Connection]:
        async with transaction(self._pool) as connection:
            await self._set(connection, settings)
            yield connection

    async def _set(self, connection: Connection, settings: Mapping[str, str]) -> None:
        settings = {**settings, **self._statement_limit}
        await connection.execute(SET_LOCAL, list(settings), list(settings.values()))

    @asynccontextmanager
    async def _fenced(self, batch: Batch, settings: Mapping[str, str]) -> AsyncIterator[tuple[Connection, bool]]:
        """Hold off other workers during a transaction. Yield whether the batch is closed. Raises `LeaseLost`."""
        async with transaction(self._pool) as connection:
            # Before the settings, which limit how long a lock is waited for: no application locks a batch.
            found = await connection.fetchrow(self._sql.batches.fence, batch.batch_id)
            is_closed = found is not None and found["status"] in ("completed", "failed")
            if not is_closed and (found is None or not found["is_ours"]):
                raise LeaseLost(f"batch {batch.batch_id}: the lease of {self._lease.total_seconds():g} s expired")
            if found is not None and found["held_s"] is not None:
                self.on_hold(QueueHold(found["held_s"], found["hold_reason"]))
            await self._set(connection, settings)
            yield connection, is_closed
