"""Counts of a queue's rows, from its own records and from the failed rows. The others are not read."""
# ruff: noqa: S608 - names are quoted by ClaimTable

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from keda_jobs.claims import ClaimTable
from keda_jobs.claims.failed_rows import ELLIPSIS, IS_FAILED
from keda_jobs.claims.statements import BY_INDEX, SET_LOCAL
from keda_jobs.postgres import Connection

_MOST_REASONS = 10

# Errors that differ only in a value are one reason. Quoted text, unless it is a plain word, becomes dots, and so does
# what looks like an address, a path, a long number or an id.
_VALUE = "|".join(
    (
        r"'[^']*[^A-Za-z_'][^']*'",
        r'"[^"]*[^A-Za-z_"][^"]*"',
        r"\S+[@/]\S*",
        r"\S*[@/]\S+",
        r"\S*(\d{4}|[0-9a-f]{8}-)\S*",
    )
)


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows by status. A failed row is `waiting` for a retry or `failed_permanently`."""

    pending: int = 0
    processing: int = 0
    completed: int = 0
    waiting: int = 0
    failed_permanently: int = 0

    @property
    def total(self) -> int:
        """All rows."""
        return self.left + self.done

    @property
    def done(self) -> int:
        """Rows that no worker will claim again."""
        return self.completed + self.failed_permanently

    @property
    def failed(self) -> int:
        """Rows whose last attempt failed."""
        return self.waiting + self.failed_permanently

    @property
    def left(self) -> int:
        """Rows that are not done."""
        return self.pending + self.processing + self.waiting


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Rows that failed with the same error, apart from values in it."""

    reason: str
    rows: int
    failed_permanently: int


@dataclass(frozen=True, slots=True)
class Failures:
    """Number of rows that failed permanently at the time `at`, and the commonest reasons of all failed rows."""

    at: datetime
    duration_s: float
    permanently: int
    reasons: tuple[FailureReason, ...]
    other_reasons: int


async def read_failures(connection: Connection, table: ClaimTable, now: datetime) -> Failures:
    """Count the failed rows by reason, in one pass over them."""
    began = time.monotonic()
    await connection.execute(SET_LOCAL, list(BY_INDEX), list(BY_INDEX.values()))
    found = await connection.fetch(_by_reason(table), _MOST_REASONS, _VALUE)
    return Failures(
        at=now,
        duration_s=time.monotonic() - began,
        permanently=found[0]["all_permanently"] if found else 0,
        reasons=tuple(FailureReason(row["reason"], row["rows"], row["permanently"]) for row in found),
        other_reasons=found[0]["all_reasons"] - len(found) if found else 0,
    )


def _by_reason(table: ClaimTable) -> str:
    return f"""
SELECT *, count(*) OVER () AS all_reasons, (sum(permanently) OVER ())::bigint AS all_permanently
FROM (
  SELECT
    coalesce(left(regexp_replace(error, $2, '{ELLIPSIS}', 'g'), 200), '') AS reason, count(*) AS rows,
    count(*) FILTER (WHERE next_attempt_at = 'infinity') AS permanently
  FROM {table.sql_name} WHERE {IS_FAILED} GROUP BY 1
) AS reasons
ORDER BY rows DESC, reason LIMIT $1"""


def format_percent(part: int, whole: int) -> str:
    """Format a share as `12.3 %`, rounded down so that 100 % means all."""
    return f"{int(1000 * part / whole) / 10:.1f} %" if whole else "-"


def time_left(counts: RowCounts, rows_per_s: float, last_retry_in: timedelta | None) -> timedelta | None:
    """Estimate the time until all rows are done, the last retry included. Return None without a rate."""
    if not counts.left:
        return timedelta(0)
    if rows_per_s <= 0:
        return None
    return max(timedelta(seconds=counts.left / rows_per_s), last_retry_in or timedelta(0))
