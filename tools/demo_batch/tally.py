"""How far the workers are, and what became of the users in the end, as the database tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    """What one worker has done; `began` and `ended` are seconds of the server's clock."""

    worker: str
    batches: int
    completed: int
    failed: int
    began: float
    ended: float

    @property
    def rows(self) -> int:
        """Rows that are settled."""
        return self.completed + self.failed

    @property
    def rows_per_s(self) -> float:
        """Since its first claim."""
        return self.rows / max(0.001, self.ended - self.began)


@dataclass(frozen=True, slots=True)
class Tally:
    """How far all workers are."""

    shares: Sequence[Share] = ()

    @property
    def completed(self) -> int:
        """Rows that are completed."""
        return sum(share.completed for share in self.shares)

    @property
    def failed(self) -> int:
        """Rows that failed."""
        return sum(share.failed for share in self.shares)

    @property
    def rows(self) -> int:
        """Rows that are settled."""
        return self.completed + self.failed

    @property
    def seconds(self) -> float:
        """From the first claim to the last batch's end, or to now."""
        if not self.shares:
            return 0.0
        return max(share.ended for share in self.shares) - min(share.began for share in self.shares)

    @property
    def rows_per_s(self) -> float:
        """Of all workers together."""
        return self.rows / max(0.001, self.seconds)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why so many users failed, and the first of them as it was entered."""

    error: str
    users: int
    id: int
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of all users."""

    tally: Tally
    by_status: Mapping[str, int]
    reasons: Sequence[Reason]


async def read_tally(connection: Connection) -> Tally:
    """What the workers have written so far."""
    return Tally(tuple(Share(*record) for record in await connection.fetch(_SHARES, JOB.name)))


async def read_report(connection: Connection) -> Report:
    """The end, counted in the table itself."""
    return Report(
        await read_tally(connection),
        {record[0]: record[1] for record in await connection.fetch(_BY_STATUS)},
        [Reason(*record) for record in await connection.fetch(_REASONS, _MOST_REASONS)],
    )
