"""The claim queue: claim, heartbeat, settle, give back, recover. Every method is one short transaction.

A batch is owned through its row in `batch_jobs`, by a lease that heartbeats renew. Whatever a worker writes is fenced:
it counts only while the lease runs, and the fence holds off whoever would take the batch over meanwhile. Repeating a
call whose commit went unanswered is therefore harmless: what was written the first time is not found again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, Self

from asyncpg import exceptions as pg

from keda_jobs.claims import statements
from keda_jobs.claims.ranges import pick
from keda_jobs.claims.statements import BY_KEYS, BY_RANGE, Statements
from keda_jobs.claims.table import ClaimTable
from keda_jobs.domain.policy import Dead, Retry, RetryPolicy
from keda_jobs.errors import JobError, Misconfigured
from keda_jobs.postgres import Connection, Pool, one_line, transaction
from keda_jobs.runtime.cpu import WorkerDied

# A dead worker's batch comes back in this many parts, each claimed alone: the row that kills is cornered in
# log16(CLAIM_SIZE) more deaths, and its neighbours are done meanwhile.
_PARTS = 16

# What the type, a constraint, an index or a trigger of the table has against a value.
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
    """The batch is no longer ours: its lease ran out, and another worker may have it."""


class ValuesRefused(JobError):
    """PostgreSQL refuses a value that a handler returned; nothing of the call was written."""


class Claimed(NamedTuple):
    """A claimed row: its key, the tries that ended before, and the columns the job reads."""

    key: int
    attempts: int
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are ours as long as the lease is renewed."""

    batch_id: int
    rows: Sequence[Claimed]


class Done(NamedTuple):
    """A row's result, in the order of the table's written columns."""

    row: Claimed
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that failed; tried again in `delay_s` seconds, or never where that is None."""

    key: int
    error: str
    delay_s: float | None

    @classmethod
    def of(cls, row: Claimed, decision: Retry | Dead) -> Self:
        """The failure of `row`, as the policy decided."""
        return cls(row.key, decision.reason, decision.delay_s if isinstance(decision, Retry) else None)


@dataclass(frozen=True, slots=True)
class Settled:
    """Rows whose state was written; `failed` includes those `given_up`."""

    completed: int = 0
    failed: int = 0
    given_up: int = 0

    def __add__(self, other: Settled) -> Settled:
        return Settled(self.completed + other.completed, self.failed + other.failed, self.given_up + other.given_up)


class ClaimQueue:
    """The claim queue of one table, as the worker `pod_name` uses it.

    Every method raises `DatabaseUnavailable` where waiting may help, and `Misconfigured` where the schema or a right
    is missing.
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
        """The queue of `table`. Raises `Misconfigured` when the table is no queue or lacks a column of the job."""
        async with transaction(pool) as connection:
            columns = await connection.fetch(statements.TYPES, table.name)
            is_queue = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table.claimable)
        types = {str(column[0]): str(column[1]) for column in columns}
        if not types or not is_queue:
            raise Misconfigured(f"the database has no claim queue on {table.name}; apply the job's schema first")
        if missing := [column for column in (table.key, *table.reads, *table.writes) if column not in types]:
            raise Misconfigured(f"{table.name} has no column {', '.join(missing)}; apply the job's schema first")
        if arrays := [column for column in table.writes if types[column].endswith("[]")]:
            raise Misconfigured(f"a claim queue cannot write {table.name}.{', '.join(arrays)}: it is an array")
        return cls(pool, table, types, pod_name, lease_s, policy)

    async def claimable(self) -> int:
        """Rows that a claim could get now: the number that the scaler sees."""
        async with transaction(self._pool) as connection:
            return int(await connection.fetchval(self._sql.claimable))

    async def claim(self, most: int) -> Batch | None:
        """Up to `most` rows, set to `processing`; None when nothing is claimable that no other claim has locked."""
        while True:
            async with self._transaction(BY_RANGE) as connection:
                picked = await pick(connection, self._sql, most)
                if not picked:
                    return None
                batch_id = await connection.fetchval(statements.OPEN, self._batch_name, self._pod_name, self._lease)
                await connection.execute(self._sql.hold, batch_id, picked)
                rows = await connection.fetch(self._sql.claim, batch_id)
                if rows:
                    await connection.execute(statements.SET_CLAIMED, batch_id, len(rows), self._lease)
                    return Batch(batch_id, [Claimed(row[0], row[1], row[2:]) for row in rows])
                # Its rows were deleted since they were queued.
                await connection.execute(self._sql.release, batch_id)
                await connection.execute(statements.FORGET, batch_id)

    async def renew(self, batch: Batch) -> None:
        """The sign of life. Raises `LeaseLost`."""
        async with self._fenced(batch, BY_KEYS) as (connection, is_closed):
            if not is_closed:
                await connection.execute(statements.RENEW, batch.batch_id, self._lease)

    async def settle(self, batch: Batch, done: Sequence[Done], failures: Sequence[Failure]) -> Settled:
        """Write results and failures of rows of the batch; with the last of them the batch is closed.

        Raises `LeaseLost`, and `ValuesRefused` where the table does not take what a handler returned.
        """
        try:
            async with self._fenced(batch, BY_KEYS) as (connection, is_closed):
                return Settled() if is_closed else await self._settle(connection, batch.batch_id, done, failures)
        except _REFUSALS as error:  # at the end of the transaction, where a constraint is deferred
            raise ValuesRefused(one_line(error)) from error

    async def close(self, batch: Batch, error: str | None = None) -> int:
        """End the batch: `failed` with an error, else `completed`. Rows still in hand go back; returns their number.

        Raises `LeaseLost`.
        """
        async with self._fenced(batch, BY_RANGE) as (connection, is_closed):
            if is_closed:
                return 0
            return await self._end(connection, batch.batch_id, "failed" if error else "completed", error, Settled())

    async def recover(self) -> int | None:
        """Take one batch from a worker that gave no sign of life: the number of rows set free, None without one.

        They come back in parts that are claimed alone. A worker that died over a single row has failed that row, so
        that even a row that kills is tried only up to the limit.
        """
        async with self._transaction(BY_RANGE) as connection:
            expired = await connection.fetchrow(self._sql.take_expired)
            if expired is None:
                return None
            batch_id, rows = expired["batch_id"], int(expired["rows"])
            failed = await self._fail_the_only_row(connection, batch_id) if rows == 1 else Settled()
            reason = f"the lease of {expired['pod_name']} ran out"
            await self._end(connection, batch_id, "abandoned", reason, failed, parts=_PARTS)
            return rows

    async def _settle(
        self, connection: Connection, batch_id: int, done: Sequence[Done], failures: Sequence[Failure]
    ) -> Settled:
        completed = await self._complete(connection, batch_id, done)
        failed, given_up = await self._fail(connection, batch_id, failures)
        was_last = await connection.fetchval(statements.COUNT, batch_id, completed, failed, given_up, self._lease)
        # In this transaction: of a worker that died before a later one no row would be left to call another for.
        if was_last:
            await connection.execute(self._sql.release, batch_id)
            await connection.execute(statements.CLOSE, batch_id, "completed", None, 0, 0, 0)
        return Settled(completed, failed, given_up)

    async def _complete(self, connection: Connection, batch_id: int, done: Sequence[Done]) -> int:
        if not done:
            return 0
        columns = [list(column) for column in zip(*(ended.values for ended in done), strict=True)]
        status = await connection.execute(self._sql.complete, batch_id, [ended.row.key for ended in done], *columns)
        return int(status.removeprefix("UPDATE "))

    async def _fail(self, connection: Connection, batch_id: int, failures: Sequence[Failure]) -> tuple[int, int]:
        if not failures:
            return 0, 0
        [counts] = await connection.fetch(
            self._sql.fail,
            batch_id,
            [failure.key for failure in failures],
            [failure.error for failure in failures],
            [failure.delay_s for failure in failures],
        )
        return counts["failed"], counts["given_up"]

    async def _fail_the_only_row(self, connection: Connection, batch_id: int) -> Settled:
        found = await connection.fetchrow(self._sql.only_row, batch_id)
        if found is None:  # deleted
            return Settled()
        row = Claimed(found[0], found[1], ())
        failure = Failure.of(row, self._policy.after_failure(WorkerDied(), row.attempts + 1))
        failed, given_up = await self._fail(connection, batch_id, [failure])
        return Settled(0, failed, given_up)

    async def _end(
        self,
        connection: Connection,
        batch_id: int,
        status: str,
        error: str | None,
        failed: Settled,
        parts: int = 1,
    ) -> int:
        returned = int(await connection.fetchval(self._sql.give_back, batch_id, status == "abandoned", parts))
        await connection.execute(self._sql.release, batch_id)
        await connection.execute(statements.CLOSE, batch_id, status, error, failed.failed, failed.given_up, returned)
        return returned

    @asynccontextmanager
    async def _transaction(self, plan: Mapping[str, str]) -> AsyncIterator[Connection]:
        async with transaction(self._pool) as connection:
            await connection.execute(statements.SET_LOCAL, list(plan), list(plan.values()))
            yield connection

    @asynccontextmanager
    async def _fenced(self, batch: Batch, plan: Mapping[str, str]) -> AsyncIterator[tuple[Connection, bool]]:
        """A transaction in which nobody can take the batch, and whether it is closed: only its holder does that."""
        async with self._transaction(plan) as connection:
            found = await connection.fetchrow(statements.FENCE, batch.batch_id)
            is_closed = found is not None and found["status"] in ("completed", "failed")
            if not is_closed and (found is None or not found["is_ours"]):
                raise self._lost(batch)
            yield connection, is_closed

    def _lost(self, batch: Batch) -> LeaseLost:
        return LeaseLost(f"batch {batch.batch_id}: the lease of {self._lease.total_seconds():g} s ran out")
