-- A row that cannot be claimed or given back is set aside: it has a range of its own, with the reason.
--
-- The reason stands here because the row itself cannot be written. A row that a batch could not give back keeps the
-- status `processing` and the number of that batch, and its range has them too.

ALTER TABLE keda_jobs.{queue}_queue
  ADD COLUMN tries smallint NOT NULL DEFAULT 0,
  ADD COLUMN error text;

COMMENT ON COLUMN keda_jobs.{queue}_queue.tries IS 'how often its row was refused: they count as attempts';
COMMENT ON COLUMN keda_jobs.{queue}_queue.error IS 'why its rows were set aside';
COMMENT ON COLUMN keda_jobs.{queue}_queue.held_back_until IS 'its rows were set aside: not tried again before';

CREATE INDEX {queue}_queue_set_aside ON keda_jobs.{queue}_queue (lo) WHERE error IS NOT NULL;

DO $$
DECLARE
  name text;
BEGIN
  SELECT conname INTO STRICT name FROM pg_constraint
  WHERE conrelid = 'keda_jobs.{queue}_queue'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%batch_status%';
  EXECUTE format('ALTER TABLE keda_jobs.{queue}_queue DROP CONSTRAINT %I', name);
END $$;
ALTER TABLE keda_jobs.{queue}_queue ADD CHECK (batch_status IN ('pending', 'processing', 'failed'));
