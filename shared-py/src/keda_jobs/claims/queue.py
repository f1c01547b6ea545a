"""The claim queue: claim, heartbeat, settle, give back, recover. Every method is one short transaction.

A worker owns a batch through its row in `batch_jobs`, by a lease that heartbeats renew. Every write is fenced: it
succeeds only during the lease, and no other worker can take the batch over while it runs. It is therefore harmless to
repeat a call whose commit got no answer: the rows that it wrote the first time no longer match.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from datetime import timedelta
from operator import add
from typing import Any, NamedTuple, Self

from asyncpg import exceptions as pg

from keda_jobs.claims import statements
from keda_jobs.claims.ranges import select_ranges
from keda_jobs.claims.statements import BY_KEYS, BY_RANGE, Statements
from keda_jobs.claims.table import ClaimTable
from keda_jobs.domain.policy import Dead, Retry, RetryPolicy
from keda_jobs.errors import JobError, Misconfigured
from keda_jobs.postgres import Connection, Pool, one_line, transaction
from keda_jobs.runtime.cpu import WorkerDied

# A dead worker's batch comes back in this many parts, each claimed alone: a row that kills its worker is isolated after
# log16(CLAIM_SIZE) more deaths, and its neighbours complete meanwhile.
_PARTS = 16

# Errors by which a column's type, a constraint, an index or a trigger refuses a value.
_REFUSALS = (
    pg.DataError,
    pg.IntegrityConstraintViolationError,
    pg.ProgramLimitExceededError,
    pg.PLPGSQLError,
    pg.CardinalityViolationError,
    pg.WithCheckOptionViolationError,
    pg.UnknownPostgresError,  # raised by a trigger with a code of its own
    ValueError,  # asyncpg cannot encode it
)


class LeaseLost(JobError):
    """The lease of the batch expired, so another worker may have it."""


class ValuesRefused(JobError):
    """PostgreSQL refuses a value that a handler returned. The call wrote nothing."""


class ClaimedRow(NamedTuple):
    """A claimed row: its key, the number of earlier attempts, and the columns that the job reads."""

    key: int
    attempts: int
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Claimed rows, owned for as long as the lease is renewed."""

    batch_id: int
    rows: Sequence[ClaimedRow]


class CompletedRow(NamedTuple):
    """A completed row, with `values` in the order of the columns that the job writes."""

    row: ClaimedRow
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed row, retried in `delay_s` seconds, or never where that is None."""

    key: int
    error: str
    delay_s: float | None

    @classmethod
    def of(cls, row: ClaimedRow, decision: Retry | Dead) -> Self:
        """Build the failure of `row` from the policy's decision."""
        return cls(row.key, decision.reason, decision.delay_s if isinstance(decision, Retry) else None)


@dataclass(frozen=True, slots=True)
class SettledRows:
    """Numbers of rows whose outcome was written. `failed` includes `failed_permanently`."""

    completed: int = 0
    failed: int = 0
    failed_permanently: int = 0

    def __add__(self, other: SettledRows) -> SettledRows:
        return SettledRows(*map(add, astuple(self), astuple(other)))


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
        """Open the queue of `table`. Raises `Misconfigured` when there is none or a column of the job is missing."""
        async with transaction(pool) as connection:
            columns = await connection.fetch(statements.COLUMN_TYPES, table.name)
            is_queue = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table.claimable)
        types = {str(column[0]): str(column[1]) for column in columns}
        if not types or not is_queue:
            raise Misconfigured(f"the database has no claim queue on {table.name}; apply the job's schema first")
        if missing := [column for column in (table.key, *table.reads, *table.writes) if column not in types]:
            raise Misconfigured(f"{table.name} has no column {', '.join(missing)}; apply the job's schema first")
        if arrays := [column for column in table.writes if types[column].endswith("[]")]:
            raise Misconfigured(
                f"a claim queue cannot write {table.name}.{', '.join(arrays)}: arrays are not supported"
            )
        return cls(pool, table, types, pod_name, lease_s, policy)

    async def claimable(self) -> int:
        """Return the number of rows that can be claimed now, which is what the scaler sees."""
        async with transaction(self._pool) as connection:
            return int(await connection.fetchval(self._sql.claimable))

    async def claim(self, most: int) -> Batch | None:
        """Claim up to `most` rows. Return None when every claimable row is locked by another claim, or none is left."""
        while True:
            async with self._transaction(BY_RANGE) as connection:
                range_ids = await select_ranges(connection, self._sql, most)
                if not range_ids:
                    return None
                batch_id = await connection.fetchval(
                    statements.INSERT_BATCH, self._batch_name, self._pod_name, self._lease
                )
                await connection.execute(self._sql.hold, batch_id, range_ids)
                rows = await connection.fetch(self._sql.claim, batch_id)
                if rows:
                    await connection.execute(statements.SET_CLAIMED, batch_id, len(rows), self._lease)
                    return Batch(batch_id, [ClaimedRow(row[0], row[1], row[2:]) for row in rows])
                # The rows of these ranges have been deleted since they were queued.
                await connection.execute(self._sql.release, batch_id)
                await connection.execute(statements.DELETE_BATCH, batch_id)

    async def renew(self, batch: Batch) -> None:
        """Renew the lease of the batch. Raises `LeaseLost`."""
        async with self._fenced(batch, BY_KEYS) as (connection, is_closed):
            if not is_closed:
                await connection.execute(statements.RENEW, batch.batch_id, self._lease)

    async def settle(self, batch: Batch, completed: Sequence[CompletedRow], failures: Sequence[Failure]) -> SettledRows:
        """Write results and failures of rows of the batch. The last of its rows closes the batch.

        Raises `LeaseLost`, and `ValuesRefused` when the table refuses a value that a handler returned.
        """
        try:
            async with self._fenced(batch, BY_KEYS) as (connection, is_closed):
                if is_closed:
                    return _NOTHING
                return await self._settle(connection, batch.batch_id, completed, failures)
        except _REFUSALS as error:  # deferred constraints raise at the end of the transaction
            raise ValuesRefused(one_line(error)) from error

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

        The rows come back in parts that are claimed alone. A batch of a single row counts as a failure of that row, so
        even a row that kills its worker is tried only up to the limit.
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

    async def _settle(
        self, connection: Connection, batch_id: int, completed: Sequence[CompletedRow], failures: Sequence[Failure]
    ) -> SettledRows:
        settled = SettledRows(completed=await self._complete(connection, batch_id, completed))
        settled += await self._fail(connection, batch_id, failures)
        was_last = await connection.fetchval(statements.ADD_COUNTS, batch_id, *astuple(settled), self._lease)
        # In the same transaction: if the worker died before closing it, no claimable row would call another worker.
        if was_last:
            await connection.execute(self._sql.release, batch_id)
            await connection.execute(statements.CLOSE_BATCH, batch_id, "completed", None, 0, 0, 0)
        return settled

    async def _complete(self, connection: Connection, batch_id: int, completed: Sequence[CompletedRow]) -> int:
        if not completed:
            return 0
        columns = [list(column) for column in zip(*(row.values for row in completed), strict=True)]
        status = await connection.execute(self._sql.complete, batch_id, [row.row.key for row in completed], *columns)
        return int(status.removeprefix("UPDATE "))

    async def _fail(self, connection: Connection, batch_id: int, failures: Sequence[Failure]) -> SettledRows:
        if not failures:
            return _NOTHING
        [counts] = await connection.fetch(
            self._sql.fail,
            batch_id,
            [failure.key for failure in failures],
            [failure.error for failure in failures],
            [failure.delay_s for failure in failures],
        )
        return SettledRows(failed=counts["failed"], failed_permanently=counts["failed_permanently"])

    async def _fail_only_row(self, connection: Connection, batch_id: int) -> SettledRows:
        found = await connection.fetchrow(self._sql.only_row, batch_id)
        if found is None:  # deleted meanwhile
            return _NOTHING
        row = ClaimedRow(found[0], found[1], ())
        decision = self._policy.after_failure(WorkerDied(), row.attempts + 1)
        return await self._fail(connection, batch_id, [Failure.of(row, decision)])

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
        await connection.execute(self._sql.release, batch_id)
        await connection.execute(
            statements.CLOSE_BATCH, batch_id, status, error, failed.failed, failed.failed_permanently, returned
        )
        return returned

    @asynccontextmanager
    async def _transaction(self, settings: Mapping[str, str]) -> AsyncIterator[Connection]:
        async with transaction(self._pool) as connection:
            await connection.execute(statements.SET_LOCAL, list(settings), list(settings.values()))
            yield connection

    @asynccontextmanager
    async def _fenced(self, batch: Batch, settings: Mapping[str, str]) -> AsyncIterator[tuple[Connection, bool]]:
        """Hold off other workers during a transaction. Yield whether the batch is closed. Raises `LeaseLost`."""
        async with self._transaction(settings) as connection:
            found = await connection.fetchrow(statements.FENCE, batch.batch_id)
            is_closed = found is not None and found["status"] in ("completed", "failed")
            if not is_closed and (found is None or not found["is_ours"]):
                raise LeaseLost(f"batch {batch.batch_id}: the lease of {self._lease.total_seconds():g} s expired")
            yield connection, is_closed
