"""Baseline of the processing: the status in an index, all the work in the server, no Python."""

from __future__ import annotations

INDEX = "CREATE INDEX idx_users_batch_status_id ON users (batch_status, id)"
"""Index that people create. Without a condition it also serves their own queries."""

# Replaces NORMAL below.
_NORMAL = r"""
  batch_status = CASE WHEN COMPLETED THEN 'completed' ELSE 'failed' END,
  error = CASE WHEN COMPLETED THEN NULL ELSE 'invalid' END,
  attempts = attempts + 1,
  normalized_name = trim(name),
  normalized_email = lower(trim(email)),
  email_domain = split_part(lower(trim(email)), '@', 2),
  country = upper(substring(trim(email) FROM '\.(\w\w)$'))
""".replace("COMPLETED", r"trim(name) <> '' AND trim(email) ~ '^[^@\s]+@([^@\s.]+\.)+[^@\s.]+$'")

_PROCESS_ALL = """
CREATE PROCEDURE process_all(most integer) LANGUAGE plpgsql AS $$
DECLARE
  claimed bigint;
  completed bigint;
BEGIN
  LOOP
    UPDATE users SET batch_status = 'processing', batch_id = pg_backend_pid()
    FROM (
      SELECT id FROM users WHERE batch_status = 'pending' ORDER BY id LIMIT most FOR UPDATE SKIP LOCKED
    ) AS next
    WHERE users.id = next.id;
    GET DIAGNOSTICS claimed = ROW_COUNT;
    COMMIT;
    UPDATE users SET NORMAL
    FROM (
      SELECT id FROM users WHERE batch_status = 'processing' ORDER BY id LIMIT most FOR UPDATE SKIP LOCKED
    ) AS done
    WHERE users.id = done.id;
    GET DIAGNOSTICS completed = ROW_COUNT;
    COMMIT;
    EXIT WHEN claimed = 0 AND completed = 0;
  END LOOP;
END $$""".replace("NORMAL", _NORMAL)

PLAIN = (f"{INDEX} WHERE batch_status IN ('pending', 'processing', 'failed')", _PROCESS_ALL)
"""Both updates find their rows by status. A session repeats both steps until no rows are left."""
