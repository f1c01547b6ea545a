"""Writes of rows' outcomes, fenced by the batch and by the version of each row."""

from __future__ import annotations

from collections.abc import Sequence

from keda_jobs.claims.rows import Batch, CompletedRow, Failure, SettledRows
from keda_jobs.claims.statements import Statements
from keda_jobs.claims.values import to_arrays
from keda_jobs.errors import JobError
from keda_jobs.postgres import Connection, StatementRefused, storable

SKIPPED = "a trigger of the table skips its update"


class ValuesRefused(JobError):
    """The table refuses a value that the handler returned."""


async def write_outcomes(
    connection: Connection,
    sql: Statements,
    batch: Batch,
    completed: Sequence[CompletedRow],
    failures: Sequence[Failure],
) -> SettledRows:
    """Write the outcomes of rows that are still claimed and whose input is still the one that was worked on.

    The other rows stay claimed and are given back at the end of the batch, to be worked on again.
    Raises `StatementRefused` for rows that a trigger did not let be updated.
    """
    settled = await _write(connection, sql, batch, completed, failures, batch.versions)
    if settled.rows == len(completed) + len(failures):
        return settled
    same = await _rows_with_same_input(connection, sql, batch, completed, failures)
    completed = [row for row in completed if row.row.key in same]
    failures = [failure for failure in failures if failure.key in same]
    again = await _write(connection, sql, batch, completed, failures, None)
    if again.rows < len(same):
        raise StatementRefused(SKIPPED)
    return settled + again


async def _rows_with_same_input(
    connection: Connection,
    sql: Statements,
    batch: Batch,
    completed: Sequence[CompletedRow],
    failures: Sequence[Failure],
) -> set[int]:
    """Lock rows that are still claimed. Return the keys of those that have the values the job read."""
    inputs = {row.row.key: row.row.values for row in completed}
    inputs.update((failure.key, failure.values) for failure in failures)
    found = await connection.fetch(sql.results.unwritten, batch.batch_id, list(inputs), batch.versions)
    # For Python 1, 1.0 and true are equal, and NaN is not equal to itself.
    return {key for key, is_unchanged, *values in found if is_unchanged or repr((*values,)) == repr((*inputs[key],))}


async def _write(
    connection: Connection,
    sql: Statements,
    batch: Batch,
    completed: Sequence[CompletedRow],
    failures: Sequence[Failure],
    versions: Sequence[str] | None,
) -> SettledRows:
    settled = SettledRows()
    if completed:
        keys = [row.row.key for row in completed]
        columns = to_arrays(sql.results.types, (row.values for row in completed))
        status = await connection.execute(sql.results.complete, batch.batch_id, keys, versions, *columns)
        settled += SettledRows(completed=int(status.removeprefix("UPDATE ")))
    if failures:
        settled += await write_failures(connection, sql, batch.batch_id, failures, versions)
    return settled


async def write_failures(
    connection: Connection,
    sql: Statements,
    batch_id: int,
    failures: Sequence[Failure],
    versions: Sequence[str] | None = None,
) -> SettledRows:
    """Write the failures of rows that are still claimed, and of these versions if there are any."""
    [counts] = await connection.fetch(
        sql.results.fail,
        batch_id,
        [failure.key for failure in failures],
        versions,
        [storable(connection, failure.error) for failure in failures],
        [failure.delay_s for failure in failures],
    )
    return SettledRows(failed=counts["failed"], failed_permanently=counts["failed_permanently"])
