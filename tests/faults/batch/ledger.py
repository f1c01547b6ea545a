"""Ledger in which the database itself records each effect of a worker on a user."""

from __future__ import annotations

from typing import NamedTuple

import asyncpg

from .queue_view import QueueView

# The function runs as its owner: the worker has no right on the ledger and cannot change it.
_LEDGER = """
CREATE TABLE ledger (
  user_id bigint NOT NULL, batch_id bigint NOT NULL, status text NOT NULL, is_final boolean NOT NULL,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION enter_in_ledger() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO ledger (user_id, batch_id, status, is_final)
  SELECT id, batch_id, batch_status, batch_status = 'completed' OR next_attempt_at = 'infinity'
  FROM written WHERE batch_status IN ('completed', 'failed');
  RETURN NULL;
END $$;
CREATE TRIGGER enter_in_ledger AFTER UPDATE ON users
  REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION enter_in_ledger()"""

_ROWS = """
SELECT
  count(*) FILTER (WHERE batch_status = 'completed') AS completed,
  count(*) FILTER (WHERE batch_status = 'failed' AND next_attempt_at = 'infinity') AS given_up,
  count(*) FILTER (
    WHERE (batch_status = 'completed') <> (normalized_email IS NOT NULL)
      OR (batch_status = 'failed') <> (coalesce(error, '') ~ 'name|email')
  ) AS half_written
FROM users"""

_EFFECTS = """
SELECT
  count(*) FILTER (WHERE is_final) AS final,
  count(DISTINCT user_id) FILTER (WHERE is_final) AS rows_with_a_final,
  count(*) FILTER (WHERE NOT is_final) AS passing
FROM ledger"""

_FINAL_AS_THE_ROW = """
SELECT count(*) AS entries
FROM ledger JOIN users ON users.id = user_id AND users.batch_id = ledger.batch_id AND batch_status = status
WHERE is_final"""

_BATCHES = """
SELECT
  count(*) FILTER (WHERE status NOT IN ('completed', 'abandoned') OR finished_at IS NULL) AS not_ended,
  count(*) FILTER (WHERE claimed <> completed + failed + returned) AS rows_unaccounted,
  count(*) FILTER (WHERE status = 'abandoned') AS abandoned,
  count(*) FILTER (WHERE status = 'abandoned' AND completed + failed > 0 AND returned > 0) AS abandoned_half_done,
  coalesce(sum(claimed), 0) AS claimed,
  coalesce(sum(completed), 0) AS completed,
  coalesce(sum(failed), 0) AS failed,
  coalesce(sum(given_up), 0) AS given_up,
  coalesce(sum(returned), 0) AS returned
FROM batch_jobs"""

_BATCHES_AGAINST_EFFECTS = """
SELECT
  count(*) FILTER (
    WHERE (batch.completed, batch.failed, batch.given_up)
      IS DISTINCT FROM (coalesce(entered.completed, 0), coalesce(entered.failed, 0), coalesce(entered.given_up, 0))
  ) AS other_counts,
  count(*) FILTER (WHERE entered.last > batch.finished_at) AS written_after_the_end
FROM batch_jobs AS batch FULL JOIN (
  SELECT
    batch_id, max(written_at) AS last,
    count(*) FILTER (WHERE status = 'completed') AS completed,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'failed' AND is_final) AS given_up
  FROM ledger GROUP BY batch_id
) AS entered USING (batch_id)"""


class Run(NamedTuple):
    """Counts of what happened during a run."""

    abandoned: int
    abandoned_half_done: int
    returned: int


class Ledger:
    """Record of all users since `open`."""

    def __init__(self, queue: QueueView) -> None:
        self._queue = queue

    async def open(self) -> None:
        """Start to record effects."""
        await self._queue.owner.execute(_LEDGER)

    async def entries(self) -> list[asyncpg.Record]:
        """Read all entries, in order."""
        return await self._queue.owner.fetch("SELECT * FROM ledger ORDER BY written_at, user_id")

    async def balances(self, rows: int, invalid: int) -> Run:
        """Check that each row ended once and correctly, and that rows, ledger and batches agree."""
        await self._each_row_ended_correctly(rows, invalid)
        passing = await self._each_row_ended_once(rows)
        run = await self._batches_add_up(rows, passing)
        assert await self._queue.claimable() == 0
        return run

    async def _each_row_ended_correctly(self, rows: int, invalid: int) -> None:
        states = await self._queue.one(_ROWS)
        assert states == {"completed": rows - invalid, "given_up": invalid, "half_written": 0}

    async def _each_row_ended_once(self, rows: int) -> int:
        effects = await self._queue.one(_EFFECTS)
        assert effects["final"] == effects["rows_with_a_final"] == rows, effects
        # The batch that the row names wrote the row's present state.
        assert await self._queue.one(_FINAL_AS_THE_ROW) == {"entries": rows}
        return int(effects["passing"])

    async def _batches_add_up(self, rows: int, passing: int) -> Run:
        batches = await self._queue.one(_BATCHES)
        assert (batches["not_ended"], batches["rows_unaccounted"]) == (0, 0), batches
        assert batches["completed"] + batches["given_up"] == rows, batches
        assert batches["failed"] - batches["given_up"] == passing, batches
        assert batches["claimed"] == rows + passing + batches["returned"], batches
        # A late write of a worker without its lease would show here, because recovery closes the batch with its counts.
        against = await self._queue.one(_BATCHES_AGAINST_EFFECTS)
        assert against == {"other_counts": 0, "written_after_the_end": 0}
        return Run(batches["abandoned"], batches["abandoned_half_done"], batches["returned"])
