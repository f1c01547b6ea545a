"""Statements on batches: their leases, their counts, the hold of their queue."""

from __future__ import annotations

from keda_jobs.claims.table import ClaimTable


class BatchStatements:
    """Statements on `batch_jobs` and on the hold of a queue."""

    def __init__(self, table: ClaimTable) -> None:
        batches = table.batches
        held_s = f"SELECT extract(epoch FROM held_until - clock_timestamp())::float8 FROM {table.held}"
        self.renew = f"""
UPDATE {batches} SET heartbeat_at = clock_timestamp(), lease_expires_at = clock_timestamp() + $2 WHERE batch_id = $1"""
        # KEY SHARE lets parts of a batch settle concurrently, and conflicts with FOR UPDATE of `take_expired_batch`.
        self.fence = f"""
SELECT status, status = 'running' AND lease_expires_at > clock_timestamp() AS is_ours,
  ({held_s}) AS held_s, (SELECT reason FROM {table.held}) AS hold_reason
FROM {batches} WHERE batch_id = $1 FOR KEY SHARE"""
        self.held = f"SELECT ({held_s}), reason FROM {table.held}"
        self.hold_queue = f"SELECT {table.queue}_hold($1, $2)"
        self.add_counts = f"""
UPDATE {batches} SET
  completed = completed + $2, failed = failed + $3, given_up = given_up + $4, returned = returned + $6,
  rows_per_s = (completed + $2 + failed + $3)
    / greatest(0.001, extract(epoch FROM clock_timestamp() - started_at)),
  heartbeat_at = clock_timestamp(), lease_expires_at = clock_timestamp() + $5
WHERE batch_id = $1
RETURNING completed + failed + returned = claimed"""
        # What has no outcome was given back, or was deleted meanwhile.
        self.close_batch = f"""
UPDATE {batches} SET
  status = $2, error = $3, failed = failed + $4, given_up = given_up + $5, returned = claimed - completed - failed - $4,
  finished_at = clock_timestamp()
WHERE batch_id = $1"""
        self.insert_batch = f"""
INSERT INTO {batches} (batch_name, pod_name, lease_expires_at)
VALUES ($1, $2, clock_timestamp() + $3) RETURNING batch_id, pg_current_xact_id()::xid AS version"""
        # The lease begins after the claim, because a claim of many rows takes time.
        self.set_claimed = f"""
UPDATE {batches} SET claimed = $2, lease_expires_at = clock_timestamp() + $3 WHERE batch_id = $1"""
        self.delete_batch = f"DELETE FROM {batches} WHERE batch_id = $1"
        self.sum_up_old_batches = f"SELECT {table.sum_up_old_batches}()"
