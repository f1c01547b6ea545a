"""Writers of a batch's rows within one transaction: all rows at once, or in parts where that fails because of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keda_jobs.claims.isolate import Refusal, isolate, isolate_in_server, refuse_text
from keda_jobs.claims.outcomes import SKIPPED, ValuesRefused, write_failures, write_outcomes
from keda_jobs.claims.rows import Batch, ClaimedRow, CompletedRow, Failure, SettledRows
from keda_jobs.claims.set_aside import HeldRow, find_holders, lock_rows, set_aside
from keda_jobs.claims.statements import Statements
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import Connection, StatementRefused


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

    async def claim(self, expected: int) -> Batch:
        """Claim the rows of the held ranges, which should be `expected`."""
        rows = await self._connection.fetch(self._sql.claim, self.batch_id)
        if len(rows) != expected:
            if await self._connection.fetchval(self._sql.waiting_rows, self.batch_id) is not None:
                raise StatementRefused(SKIPPED)
            await self._connection.execute(self._sql.recount_overlapping, self.batch_id)
        return Batch(self.batch_id, [str(self._version)], [ClaimedRow(row[0], row[1], row[2:]) for row in rows])

    async def settle(self, batch: Batch, completed: Sequence[CompletedRow], failures: Sequence[Failure]) -> None:
        """Write results and failures."""
        self.settled += await write_outcomes(self._connection, self._sql, batch, completed, failures)

    async def fail(self, row: HeldRow, failure: Failure) -> None:
        """Write the failure of one row."""
        await self._fail_one(failure)

    async def give_back(self, *, is_suspect: bool) -> int:
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
        await connection.execute(sql.recount_overlapping, self.batch_id)
        # Each part of the claim is a transaction within this one, with a version of its own.
        versions = list({row[-1] for row in rows})
        return Batch(self.batch_id, versions, [ClaimedRow(row[0], row[1], row[2:-1]) for row in rows])

    async def settle(self, batch: Batch, completed: Sequence[CompletedRow], failures: Sequence[Failure]) -> None:
        """Write results and failures. A row whose values the table refuses fails.

        A row that somebody has locked stays claimed. It is given back at the end of the batch, to be worked on again.
        """
        connection, sql = self._connection, self._sql
        results = {row.row.key: row for row in completed}
        failing = {failure.key: failure for failure in failures}
        unlocked = await lock_rows(connection, sql, sql.lock_results, self.batch_id, [*results, *failing])

        refused = await self._complete(batch, {key: row for key, row in results.items() if key in unlocked})
        self.refused = len(refused)
        for key, refusal in refused.items():
            decision = self._policy.after_failure(ValuesRefused(refusal.reason), unlocked[key].attempts + 1)
            failing[key] = Failure.of(results[key].row, decision)

        async def fail(keys: list[int]) -> None:
            self.settled += await write_outcomes(connection, sql, batch, (), [failing[key] for key in keys])

        unwritable = await isolate(connection, [key for key in failing if key in unlocked], fail)
        await self._set_aside_claimed(unlocked, unwritable)

    async def _complete(self, batch: Batch, results: Mapping[int, CompletedRow]) -> dict[int, Refusal]:
        """Write results, and return the refusals of single rows."""
        connection, sql = self._connection, self._sql

        async def hand_over(keys: list[int]) -> None:
            columns = [list(column) for column in zip(*(results[key].values for key in keys), strict=True)]
            await connection.execute(sql.hand_over_results, keys, *columns)

        async def complete(keys: list[int]) -> None:
            self.settled += await write_outcomes(connection, sql, batch, [results[key] for key in keys], ())

        def types(key: int) -> list[str]:
            return [type(value).__name__ for value in results[key].values]

        refused = {key: refusal for key, row in results.items() if (refusal := refuse_text(row.values))}
        keys = sorted(results.keys() - refused.keys())
        # A value that is none of the column's type does not reach the server, or fails with all others. Values of one
        # wrong type are found in a few parts, when they are next to each other.
        if await isolate(connection, keys[:1], lambda _: hand_over(keys)):
            refused |= await isolate(connection, sorted(keys, key=types), hand_over)
            keys = [key for key in keys if key not in refused]
            if keys:
                await hand_over(keys)
        if keys:
            block = sql.complete_parts(self.batch_id, batch.versions)
            written, single = await isolate_in_server(connection, block, keys, hand_over)
            self.settled += SettledRows(completed=written)
            refused |= single
        if self.settled.completed + len(refused) == len(results):
            return refused
        return refused | await isolate(connection, results.keys() - refused.keys(), complete)

    async def fail(self, row: HeldRow, failure: Failure) -> None:
        """Write the failure of one row, or set it aside."""
        refused = await isolate(self._connection, [row.key], lambda _: self._fail_one(failure))
        await self._set_aside([row] if refused else [], refused)

    async def give_back(self, *, is_suspect: bool) -> int:
        """Give back the rows of the batch. Return the number, without rows that were set aside."""
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
        holders = await find_holders(self._connection, self._sql, [row.key for row in left if row.key not in unlocked])
        await self._set_aside(left, {**holders, **refused})
