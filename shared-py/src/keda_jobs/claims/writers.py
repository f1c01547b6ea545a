"""Writers of a batch's rows within one transaction: all rows at once, or in parts where that fails because of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from datetime import timedelta
from typing import Any, Self

from keda_jobs.claims.hand_over import HandOver
from keda_jobs.claims.isolate import Refusal, isolate, isolate_in_server
from keda_jobs.claims.locks import find_holders
from keda_jobs.claims.outcomes import SKIPPED, ValuesRefused, write_failures, write_outcomes
from keda_jobs.claims.rows import Batch, ClaimedRow, CompletedRow, Failure, SettledRows
from keda_jobs.claims.set_aside import HeldRow, lock_rows, set_aside
from keda_jobs.claims.statements import CHECK_AT_ONCE, ROWS_ARE_WRITTEN, Statements
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import Connection, StatementBlocked, StatementRefused
from keda_jobs.runtime.cpu import WorkerDied


class Writer:
    """Writer of all rows at once. Methods raise `StatementRefused` or `StatementGivenUp` because of any row."""

    def __init__(
        self, connection: Connection, sql: Statements, policy: RetryPolicy, batch_id: int, version: int | None = None
    ) -> None:
        self.batch_id = batch_id
        self.settled = SettledRows()
        """Rows whose outcome was written."""
        self.aside = 0
        """Number of claimed rows that were set aside."""
        self.refused = 0
        """Number of rows whose values were refused."""
        self._connection = connection
        self._sql = sql
        self._policy = policy
        self._version = version

    @classmethod
    async def begin(
        cls, connection: Connection, sql: Statements, policy: RetryPolicy, batch_id: int, version: int | None = None
    ) -> Self:
        """Begin to write in the transaction of `connection`."""
        return cls(connection, sql, policy, batch_id, version)

    async def claim(self, expected: int) -> Batch:
        """Claim the rows of the held ranges, which should be `expected`."""
        rows = await self._connection.fetch(self._sql.claim, self.batch_id)
        if len(rows) != expected:
            if await self._connection.fetchval(self._sql.waiting_rows, self.batch_id) is not None:
                raise StatementRefused(SKIPPED)
            await self._connection.execute(self._sql.ranges.recount_overlapping, self.batch_id)
        return Batch(self.batch_id, [str(self._version)], [ClaimedRow(row[0], row[1], row[2:]) for row in rows])

    async def settle(self, batch: Batch, completed: Sequence[CompletedRow], failures: Sequence[Failure]) -> None:
        """Write results and failures. Delete completed rows where the table is one of such."""
        self.settled += await write_outcomes(self._connection, self._sql, batch, completed, failures)
        if self._sql.table.deletes_completed and completed:
            await self._delete_completed([row.row.key for row in completed])

    async def count(self, lease: timedelta) -> None:
        """Count what was written, and renew the lease. The last row of a batch closes it."""
        connection, sql = self._connection, self._sql
        await connection.execute(ROWS_ARE_WRITTEN)
        was_last = await connection.fetchval(
            sql.batches.add_counts, self.batch_id, *astuple(self.settled), lease, self.aside
        )
        # In the same transaction: if the worker died before closing it, no claimable row would call another worker.
        if was_last:
            await connection.execute(sql.ranges.release, self.batch_id)
            await connection.execute(sql.batches.close_batch, self.batch_id, "completed", None, 0, 0)

    async def close(self, status: str, error: str | None) -> int:
        """Close the batch. Give unsettled rows back and return their number."""
        connection, sql = self._connection, self._sql
        returned = await self._give_back(is_suspect=status == "abandoned")
        counts = self.settled.failed, self.settled.failed_permanently
        await connection.execute(ROWS_ARE_WRITTEN)
        await connection.execute(sql.ranges.release, self.batch_id)
        await connection.execute(sql.batches.close_batch, self.batch_id, status, error, *counts)
        return returned

    async def fail_only_row(self) -> None:
        """Write the failure of the only row of the batch, over which its worker died. It may have been deleted."""
        found = await self._connection.fetchrow(self._sql.only_row, self.batch_id)
        if found is not None:
            row = HeldRow(*found)
            decision = self._policy.after_failure(WorkerDied(), row.attempts + row.tries + 1)
            await self._fail_row(row, Failure.of(ClaimedRow(row.key, row.attempts, ()), decision))

    async def _fail_row(self, row: HeldRow, failure: Failure) -> None:
        await self._fail_one(failure)

    async def _delete_completed(self, keys: Sequence[int]) -> None:
        await self._connection.execute(self._sql.results.delete_completed, self.batch_id, keys)

    async def _give_back(self, *, is_suspect: bool) -> int:
        """Give back the rows of the batch. Return the number, without rows that were set aside."""
        returned = await self._connection.fetchval(self._sql.give_back, self.batch_id, is_suspect, None)
        await self._set_aside(await self._read_rows(self._sql.claimed_rows), {})
        return int(returned)

    async def _fail_one(self, failure: Failure) -> None:
        await self._fail([failure])
        if not self.settled.rows:
            raise StatementRefused(SKIPPED)

    async def _fail(self, failures: Sequence[Failure]) -> None:
        self.settled += await write_failures(self._connection, self._sql, self.batch_id, failures)

    async def _read_rows(self, statement: str) -> list[HeldRow]:
        return [HeldRow(*row) for row in await self._connection.fetch(statement, self.batch_id)]

    async def _set_aside(self, rows: Sequence[HeldRow], reasons: Mapping[int, Refusal | str]) -> None:
        """Set rows aside. Those without a reason were skipped by a trigger."""
        await set_aside(self._connection, self._sql, rows, reasons, self._policy)


class CarefulWriter(Writer):
    """Writer that isolates the rows that cannot be written, sets them aside, and writes the others."""

    @classmethod
    async def begin(
        cls, connection: Connection, sql: Statements, policy: RetryPolicy, batch_id: int, version: int | None = None
    ) -> Self:
        """Begin to write. Deferred constraints are checked at once from here on."""
        await connection.execute(CHECK_AT_ONCE)
        return cls(connection, sql, policy, batch_id, version)

    async def claim(self, expected: int) -> Batch:
        """Claim the rows of the held ranges. A row that can be written but not read fails."""
        connection, sql = self._connection, self._sql
        rows: list[tuple[Any, ...]] = []
        unlocked = await lock_rows(connection, sql, sql.lock_waiting, self.batch_id)
        keys = sorted(unlocked)

        async def hand_over(keys: list[int]) -> None:
            await connection.execute(sql.hand_over_keys, keys)

        async def read(keys: list[int]) -> None:
            rows.extend(map(tuple, await connection.fetch(sql.read_claimed, self.batch_id, keys)))

        async def fail(keys: list[int]) -> None:
            await self._fail([unlocked[key].failure(unread[key], self._policy) for key in keys])

        await hand_over(keys)
        _, refused = await isolate_in_server(connection, sql.claim_parts(self.batch_id), keys, hand_over)
        unread = await isolate(connection, unlocked.keys() - refused.keys(), read)
        await self._set_aside_claimed(unlocked, await isolate(connection, unread, fail))
        await self._set_aside_locked(sql.waiting_rows, unlocked, refused)
        await connection.execute(sql.ranges.recount_overlapping, self.batch_id)
        # Each part of the claim is a transaction within this one, with a version of its own.
        versions = list({row[-1] for row in rows})
        return Batch(self.batch_id, versions, [ClaimedRow(row[0], row[1], row[2:-1]) for row in rows])

    async def settle(self, batch: Batch, completed: Sequence[CompletedRow], failures: Sequence[Failure]) -> None:
        """Write results and failures. A row whose values are refused fails.

        A row that somebody has locked stays claimed. It is given back at the end of the batch, to be worked on again.
        One that others block in another way, such as by a row it refers to, is set aside.
        """
        connection, sql = self._connection, self._sql
        results = {row.row.key: row for row in completed}
        failing = {failure.key: failure for failure in failures}
        unlocked = await lock_rows(connection, sql, sql.results.lock, self.batch_id, [*results, *failing])

        refused = await self._complete(batch, {key: row for key, row in results.items() if key in unlocked})
        self.refused = len(refused)
        blocked = {key: refusal for key, refusal in refused.items() if isinstance(refusal, StatementBlocked)}
        for key, refusal in refused.items() - blocked.items():
            decision = self._policy.after_failure(ValuesRefused(refusal.reason), unlocked[key].attempts + 1)
            failing[key] = Failure.of(results[key].row, decision)

        async def fail(keys: list[int]) -> None:
            self.settled += await write_outcomes(connection, sql, batch, (), [failing[key] for key in keys])

        unwritable = await isolate(connection, [key for key in failing if key in unlocked], fail)
        await self._set_aside_claimed(unlocked, unwritable | blocked)
        if sql.table.deletes_completed:
            await isolate(connection, results, self._delete_completed)  # a row that cannot be deleted stays completed

    async def _complete(self, batch: Batch, results: Mapping[int, CompletedRow]) -> dict[int, Refusal]:
        """Write results, and return the refusals of single rows."""
        connection, sql = self._connection, self._sql

        async def complete(keys: list[int]) -> None:
            self.settled += await write_outcomes(connection, sql, batch, [results[key] for key in keys], ())

        values = await HandOver.begin(connection, sql.results, results)
        keys = await values.hand_over_all()
        if keys:
            block = sql.results.complete_parts(self.batch_id, batch.versions)
            written, refused = await isolate_in_server(connection, block, keys, values.hand_over)
            self.settled += SettledRows(completed=written)
            values.refused |= refused
        if self.settled.completed + len(values.refused) == len(results):
            return values.refused
        return values.refused | await isolate(connection, results.keys() - values.refused.keys(), complete)

    async def _fail_row(self, row: HeldRow, failure: Failure) -> None:
        refused = await isolate(self._connection, [row.key], lambda _: self._fail_one(failure))
        await self._set_aside([row] if refused else [], refused)

    async def _give_back(self, *, is_suspect: bool) -> int:
        connection, sql = self._connection, self._sql
        unlocked = await lock_rows(connection, sql, sql.lock_claimed, self.batch_id)
        returned = 0

        async def give_back(keys: list[int]) -> None:
            nonlocal returned
            returned += await connection.fetchval(sql.give_back, self.batch_id, is_suspect, keys)

        refused = await isolate(connection, unlocked, give_back)
        await self._set_aside_locked(sql.claimed_rows, unlocked, refused)
        return returned

    async def _set_aside_claimed(self, unlocked: Mapping[int, HeldRow], refused: Mapping[int, Refusal]) -> None:
        await self._set_aside([unlocked[key] for key in refused], refused)
        self.aside += len(refused)

    async def _set_aside_locked(
        self, statement: str, unlocked: Mapping[int, HeldRow], refused: Mapping[int, Refusal]
    ) -> None:
        """Set aside the rows that are left: refused, skipped by a trigger, or locked by somebody else."""
        left = await self._read_rows(statement)
        locked = [row.key for row in left if row.key not in unlocked]
        holders = await find_holders(self._connection, self._sql.table, locked)
        is_locked = {key: f"locked by {holder}" for key, holder in holders.items()}
        await self._set_aside(left, {**is_locked, **refused})
