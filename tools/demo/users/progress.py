"""Progress of the workers and the final counts, read from the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from demo.display import Bar
from demo.users.seeding import Seeded
from keda_jobs.postgres import Connection
from users_batch.job import JOB

_SHARES = """
SELECT pod_name, count(*), sum(completed), sum(failed),
  extract(epoch FROM min(started_at))::float8,
  extract(epoch FROM max(coalesce(finished_at, clock_timestamp())))::float8
FROM batch_jobs WHERE batch_name = $1 GROUP BY 1 ORDER BY 1"""

_BY_STATUS = "SELECT batch_status, count(*) FROM users GROUP BY 1 ORDER BY 1"

_REASONS = """
SELECT * FROM (
  SELECT DISTINCT ON (error)
    coalesce(error, ''), count(*) OVER (PARTITION BY error) AS users, id, coalesce(name, ''), coalesce(email, '')
  FROM users WHERE batch_status = 'failed' ORDER BY error, id
) AS reasons
ORDER BY users DESC, id LIMIT $1"""
_MOST_REASONS = 12


@dataclass(frozen=True, slots=True)
class Share:
    """Work of one worker between two moments, in seconds of the server's clock."""

    worker: str
    batches: int
    completed: int
    failed: int
    began: float
    ended: float

    @property
    def rows(self) -> int:
        """Settled rows."""
        return self.completed + self.failed

    @property
    def rows_per_s(self) -> float:
        """Rate since the first claim."""
        return self.rows / max(0.001, self.ended - self.began)


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of all workers."""

    seeded: Seeded
    shares: Sequence[Share] = ()

    @property
    def total(self) -> Share:
        """Work of all workers together, from the first claim to the last end."""
        return Share(
            "all",
            sum(share.batches for share in self.shares),
            sum(share.completed for share in self.shares),
            sum(share.failed for share in self.shares),
            min((share.began for share in self.shares), default=0.0),
            max((share.ended for share in self.shares), default=0.0),
        )

    @property
    def line(self) -> str:
        """Counts in one line."""
        total = self.total
        return (
            f"{total.rows:,} of {self.seeded.rows:,} rows, {total.rows_per_s:,.0f} rows/s: "
            f"completed {total.completed:,}, failed {total.failed:,}"
        )

    @property
    def bars(self) -> Sequence[Bar]:
        """Counts as bars, and one for each worker."""
        total, seeded = self.total, self.seeded
        return (
            Bar("completed", total.completed, seeded.rows - seeded.invalid, "green", f"{total.rows_per_s:,.0f} rows/s"),
            Bar("failed", total.failed, seeded.invalid, "red"),
            *(Bar(share.worker, share.rows, seeded.rows, "cyan", f"{share.batches} batches") for share in self.shares),
        )


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason why users failed, with the first of them as it was entered."""

    error: str
    users: int
    id: int
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Report:
    """Final counts."""

    progress: Progress
    by_status: Mapping[str, int]
    reasons: Sequence[Reason] = ()

    @property
    def failures(self) -> list[str]:
        """Counts that do not add up, a line each."""
        seeded = self.progress.seeded
        completed, failed = (self.by_status.get(status, 0) for status in ("completed", "failed"))
        lines = []
        if completed + failed != seeded.rows:
            lines.append(f"{completed:,} rows completed and {failed:,} failed, but {seeded.rows:,} were seeded")
        if failed != seeded.invalid:
            lines.append(f"{failed:,} rows failed, but {seeded.invalid:,} were seeded invalid")
        return lines


async def read_progress(connection: Connection, seeded: Seeded) -> Progress:
    """Read what the workers have written so far."""
    return Progress(seeded, [Share(*record) for record in await connection.fetch(_SHARES, JOB.name)])


async def read_report(connection: Connection, seeded: Seeded) -> Report:
    """Count the rows in the table itself, once the workers have ended."""
    by_status = {record[0]: record[1] for record in await connection.fetch(_BY_STATUS)}
    reasons = [Reason(*record) for record in await connection.fetch(_REASONS, _MOST_REASONS)]
    return Report(await read_progress(connection, seeded), by_status, reasons)
