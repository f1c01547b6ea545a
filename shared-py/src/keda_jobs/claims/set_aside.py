"""Rows that are set aside, each with its reason, so that a bad row affects only itself.

A row that can be written fails. Any other gets a range of its own in the queue, with the reason and the time of its
next try.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from keda_jobs.claims.isolate import Refusal
from keda_jobs.claims.outcomes import SKIPPED
from keda_jobs.claims.rows import Failure
from keda_jobs.claims.statements import Statements
from keda_jobs.domain.policy import Dead, RetryPolicy
from keda_jobs.errors import JobError
from keda_jobs.postgres import Connection, StatementCancelled, StatementGivenUp, StatementRefused, translate_errors

HOLD_BACK_S = 60.0
"""Pause before the next try at a row that is not at fault itself, such as one that somebody has locked."""

log = logging.getLogger(__name__)


class RowRefused(JobError):
    """PostgreSQL, a trigger or the driver refuses the row."""


class HeldRow(NamedTuple):
    """Row of a held range: its attempts, and the tries at it that its range counts."""

    key: int
    attempts: int
    tries: int

    def failure(self, refusal: Refusal, policy: RetryPolicy) -> Failure:
        """Build the failure of the row, which counts as an attempt."""
        decision = policy.after_failure(RowRefused(refusal.reason), self.attempts + self.tries + 1)
        return Failure(self.key, decision.reason, None if isinstance(decision, Dead) else decision.delay_s)


async def lock_rows(connection: Connection, sql: Statements, statement: str, *arguments: object) -> dict[int, HeldRow]:
    """Lock the rows that nobody else has locked. Raises `StatementGivenUp` where the table lets no row be updated."""
    try:
        with translate_errors():
            await connection.execute(sql.lock_table)
    except StatementRefused as refused:
        raise StatementGivenUp(f"{sql.table.name} refuses even an update of no row: {refused}") from None
    return {row[0]: HeldRow(*row) for row in await connection.fetch(statement, *arguments)}


async def set_aside(
    connection: Connection, sql: Statements, rows: Sequence[HeldRow], reasons: Mapping[int, Refusal | str],
    policy: RetryPolicy,
) -> None:  # fmt: skip
    """Give each row a range of its own. A row without a reason was skipped by a trigger.

    A refusal counts as a try, and so does a row that takes too long.
    """
    ranges: list[Failure] = []
    tries: list[int] = []
    texts = Counter[str]()
    for row in rows:
        reason = reasons.get(row.key) or StatementRefused(SKIPPED)
        is_at_fault = isinstance(reason, StatementRefused | StatementCancelled)
        tries.append(row.tries + is_at_fault)
        ranges.append(
            row.failure(reason, policy) if isinstance(reason, StatementRefused | StatementCancelled)
            else Failure(row.key, str(reason), HOLD_BACK_S)
        )  # fmt: skip
        texts[str(reason)] += 1
    if not rows:
        return
    await connection.execute(
        sql.set_aside,
        [aside.key for aside in ranges],
        [aside.delay_s for aside in ranges],
        tries,
        [aside.error for aside in ranges],
    )
    for text, number in texts.most_common(5):
        log.warning("%d rows are set aside: %s; see `keda-jobs batch failures`", number, text)
