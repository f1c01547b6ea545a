-- Baseline of the processing: the status in an index, all the work in the server, no Python. Both updates find their
-- rows by status. A session repeats both steps until no rows are left.
CREATE INDEX idx_users_batch_status_id ON users (batch_status, id)
WHERE batch_status IN ('pending', 'processing', 'failed');

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
    UPDATE users SET
      batch_status = CASE WHEN trim(name) <> '' AND trim(email) ~ '^[^@\s]+@([^@\s.]+\.)+[^@\s.]+$' THEN 'completed'
        ELSE 'failed' END,
      error = CASE WHEN trim(name) <> '' AND trim(email) ~ '^[^@\s]+@([^@\s.]+\.)+[^@\s.]+$' THEN NULL
        ELSE 'invalid' END,
      attempts = attempts + 1,
      normalized_name = trim(name),
      normalized_email = lower(trim(email)),
      email_domain = split_part(lower(trim(email)), '@', 2),
      country = upper(substring(trim(email) FROM '\.(\w\w)$'))
    FROM (
      SELECT id FROM users WHERE batch_status = 'processing' ORDER BY id LIMIT most FOR UPDATE SKIP LOCKED
    ) AS done
    WHERE users.id = done.id;
    GET DIAGNOSTICS completed = ROW_COUNT;
    COMMIT;
    EXIT WHEN claimed = 0 AND completed = 0;
  END LOOP;
END $$;
