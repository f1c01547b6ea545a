-- Rows that a claim cannot get, because a trigger skips their update, stay queued and are tried again later.

ALTER TABLE {table}_queue ADD COLUMN held_back_until timestamptz;

COMMENT ON COLUMN {table}_queue.held_back_until IS 'a claim could not get its rows: not tried again before';

CREATE OR REPLACE VIEW {table}_queue_due AS
  SELECT * FROM {table}_queue
  WHERE batch_id IS NULL AND next_attempt_at <= now() AND (held_back_until IS NULL OR held_back_until <= now());
