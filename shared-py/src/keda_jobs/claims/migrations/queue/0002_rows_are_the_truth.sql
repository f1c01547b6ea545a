-- Ranges are hints, the rows of {table} are the truth: a range is deleted only by code that looked at its rows.
--
-- Rows that somebody changes by hand get a batch_id of their own, the next number of batch_jobs. So ranges that one
-- statement makes hold its rows and no others, and whoever takes a row out of a range subtracts it from the right one.

COMMENT ON COLUMN {table}.batch_id IS 'the batch that holds or last held the row, or the change by hand that queued it';
COMMENT ON COLUMN batch_jobs.returned IS
  'rows that left the batch without an outcome: given back, set back by hand, deleted';

-- Sets ranges to the number of their rows, and deletes those without any. The caller holds the locks of the ranges.
CREATE FUNCTION {table}_queue_recount(ranges bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp SET row_security = off SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off SET enable_nestloop = off AS $$
BEGIN
  WITH counted AS MATERIALIZED (
    SELECT range_id, (
      SELECT count(*)::integer FROM {table} AS row
      WHERE row.{key} BETWEEN lo AND hi AND row.batch_status = range.batch_status
        AND row.next_attempt_at = range.next_attempt_at AND row.batch_id IS NOT DISTINCT FROM range.from_batch
    ) AS rows
    FROM {table}_queue AS range WHERE range_id = ANY(ranges)
  ), emptied AS (
    DELETE FROM {table}_queue AS range USING counted
    WHERE range.range_id = ANY(ranges) AND range.range_id = counted.range_id AND counted.rows = 0
  )
  UPDATE {table}_queue AS range SET claimable = counted.rows FROM counted
  WHERE range.range_id = ANY(ranges) AND range.range_id = counted.range_id AND counted.rows > 0;
END $$;

-- A row that is inserted as processing is in no batch's hands. It waits.
CREATE OR REPLACE FUNCTION {table}_enqueue_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp SET row_security = off AS $$
BEGIN
  INSERT INTO {table}_queue (lo, hi, claimable, batch_status, next_attempt_at, from_batch)
  SELECT ranges.lo, ranges.hi, ranges.claimable, same.batch_status, same.next_attempt_at, same.batch_id
  FROM (
    SELECT batch_status, next_attempt_at, batch_id, array_agg({key}::bigint) AS ids
    FROM inserted WHERE batch_status IN ('pending', 'failed') AND next_attempt_at < 'infinity' GROUP BY 1, 2, 3
  ) AS same, {schema}.batch_ranges(same.ids, gap => 1) AS ranges;
  IF EXISTS (SELECT FROM inserted WHERE batch_status = 'processing') THEN
    -- Not yet by a number of a batch that may be running.
    PERFORM set_config('keda_jobs.claims', 'on', true);
    UPDATE {table} SET batch_status = 'failed', next_attempt_at = 'infinity', batch_id = NULL
    WHERE {key} = ANY(ARRAY(SELECT {key} FROM inserted WHERE batch_status = 'processing'));
    PERFORM set_config('keda_jobs.claims', '', true);
    UPDATE {table} SET batch_status = 'pending'
    WHERE {key} = ANY(ARRAY(SELECT {key} FROM inserted WHERE batch_status = 'processing'));
  END IF;
  RETURN NULL;
END $$;

-- Old columns are what a row was, the others what it became, and none where it was deleted.
DROP TABLE {table}_queue_changes;
CREATE UNLOGGED TABLE {table}_queue_changes (
  key bigint,
  batch_status text,
  next_attempt_at timestamptz,
  old_key bigint NOT NULL,
  old_status text NOT NULL,
  old_next_attempt_at timestamptz NOT NULL,
  old_batch_id bigint
);

CREATE OR REPLACE FUNCTION {table}_note_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
  INSERT INTO {table}_queue_changes VALUES (
    NEW.{key}, NEW.batch_status, NEW.next_attempt_at,
    OLD.{key}, OLD.batch_status, OLD.next_attempt_at, OLD.batch_id
  );
  PERFORM set_config('keda_jobs.changes', 'on', true);
  RETURN NULL;
END $$;

-- Workers see to the ranges themselves and say so by a setting. What they do by the million is told first by cheap
-- signs: a claim gives a row a higher batch_id than it had, and only a claimed row is completed.
DROP TRIGGER {table}_note_change ON {table};
CREATE TRIGGER {table}_note_change AFTER UPDATE ON {table} FOR EACH ROW
  WHEN (CASE NEW.batch_status
    WHEN 'completed' THEN OLD.batch_status IN ('pending', 'failed')
    WHEN 'processing' THEN NEW.{key} <> OLD.{key} OR NEW.batch_id IS NULL OR CASE OLD.batch_status
      WHEN 'processing' THEN NEW.batch_id IS DISTINCT FROM OLD.batch_id ELSE NEW.batch_id <= OLD.batch_id END
    ELSE (NEW.{key}, NEW.batch_status, NEW.next_attempt_at, NEW.batch_id)
      IS DISTINCT FROM (OLD.{key}, OLD.batch_status, OLD.next_attempt_at, OLD.batch_id) END
    AND current_setting('keda_jobs.claims', true) IS DISTINCT FROM 'on')
  EXECUTE FUNCTION {table}_note_change();

CREATE TRIGGER {table}_note_deletion AFTER DELETE ON {table} FOR EACH ROW
  WHEN (OLD.batch_status <> 'completed') EXECUTE FUNCTION {table}_note_change();

-- Every statement has one good plan, whatever the session planned before: rows and ranges by their keys, joined by
-- hashes, and for each row that left a range one look into the index of ranges, which LIMIT keeps from becoming a join.
CREATE OR REPLACE FUNCTION {table}_enqueue_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp SET row_security = off SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off SET enable_nestloop = off AS $$
DECLARE
  change_id bigint;
  shortened bigint[];
  gone integer[];
  emptied bigint[];
BEGIN
  IF current_setting('keda_jobs.changes', true) IS DISTINCT FROM 'on' THEN
    RETURN NULL;
  END IF;
  PERFORM set_config('keda_jobs.changes', '', true), set_config('keda_jobs.claims', 'on', true);
  change_id := nextval(pg_get_serial_sequence('{schema}.batch_jobs', 'batch_id'));

  -- Rows that did not wait start anew, and now unless the statement gave a time.
  UPDATE {table} AS row SET
    batch_id = change_id,
    batch_status = CASE row.batch_status WHEN 'processing' THEN 'pending' ELSE row.batch_status END,
    next_attempt_at = CASE
      WHEN change.starts AND row.next_attempt_at IN (change.old_next_attempt_at, 'infinity') THEN now()
      ELSE row.next_attempt_at END,
    attempts = CASE WHEN change.starts AND change.old_status <> 'processing' THEN 0 ELSE row.attempts END
  FROM (
    SELECT *, batch_status <> 'failed'
      AND (old_status IN ('processing', 'completed') OR old_next_attempt_at = 'infinity') AS starts
    FROM {table}_queue_changes
    WHERE batch_status <> 'completed' AND NOT (batch_status = 'failed' AND next_attempt_at = 'infinity')
  ) AS change
  WHERE row.{key} = ANY(ARRAY(SELECT key FROM {table}_queue_changes))
    AND row.{key} = change.key AND row.batch_status = change.batch_status
    AND row.next_attempt_at = change.next_attempt_at;

  -- As the rows are now: a trigger of the application may have a say in it.
  INSERT INTO {table}_queue (lo, hi, claimable, batch_status, next_attempt_at, from_batch)
  SELECT ranges.lo, ranges.hi, ranges.claimable, same.batch_status, same.next_attempt_at, same.batch_id
  FROM (
    SELECT batch_status, next_attempt_at, batch_id, array_agg({key}::bigint) AS ids
    FROM {table}
    WHERE {key} = ANY(ARRAY(SELECT key FROM {table}_queue_changes))
      AND batch_status IN ('pending', 'failed') AND next_attempt_at < 'infinity'
    GROUP BY 1, 2, 3
  ) AS same, {schema}.batch_ranges(same.ids, gap => CASE same.batch_id WHEN change_id THEN 250 ELSE 1 END) AS ranges;

  -- A range that is locked is being claimed, and a claim counts what it gets.
  SELECT array_agg(range_id), array_agg(rows) INTO shortened, gone
  FROM (
    SELECT found.range_id, count(*)::integer AS rows
    FROM {table}_queue_changes AS change CROSS JOIN LATERAL (
      SELECT range_id FROM (
        SELECT range_id, hi FROM {table}_queue AS range
        WHERE batch_id IS NULL AND range.next_attempt_at = change.old_next_attempt_at AND lo <= change.old_key
          AND range.batch_status = change.old_status AND from_batch IS NOT DISTINCT FROM change.old_batch_id
        ORDER BY lo DESC LIMIT 20
      ) AS nearest
      WHERE hi >= change.old_key LIMIT 1
    ) AS found
    WHERE change.old_status IN ('pending', 'failed') AND change.old_next_attempt_at < 'infinity' GROUP BY 1
  ) AS left_by;
  WITH locked AS MATERIALIZED (
    SELECT range_id, claimable FROM {table}_queue WHERE range_id = ANY(shortened) AND batch_id IS NULL
    FOR UPDATE SKIP LOCKED
  ), counted AS MATERIALIZED (
    SELECT range_id, claimable - rows AS rest
    FROM locked JOIN unnest(shortened, gone) AS left_by (range_id, rows) USING (range_id)
  ), thinned AS (
    UPDATE {table}_queue AS range SET claimable = counted.rest FROM counted
    WHERE range.range_id = ANY(shortened) AND range.range_id = counted.range_id AND counted.rest > 0
  )
  SELECT array_agg(range_id) INTO emptied FROM counted WHERE rest <= 0;
  IF emptied IS NOT NULL THEN
    PERFORM {schema}.{table}_queue_recount(emptied);
  END IF;

  -- A batch that is locked corrects the number itself when it is closed. Waiting for it could be a deadlock.
  WITH taken AS MATERIALIZED (
    SELECT old_batch_id, count(*) AS rows FROM {table}_queue_changes WHERE old_status = 'processing' GROUP BY 1
  ), locked AS MATERIALIZED (
    SELECT batch_id FROM batch_jobs
    WHERE batch_id = ANY(ARRAY(SELECT old_batch_id FROM taken)) AND status = 'running' FOR NO KEY UPDATE SKIP LOCKED
  )
  UPDATE batch_jobs AS batch SET returned = least(returned + taken.rows, claimed - completed - failed)
  FROM locked JOIN taken ON taken.old_batch_id = locked.batch_id
  WHERE batch.batch_id = ANY(ARRAY(SELECT batch_id FROM locked)) AND batch.batch_id = locked.batch_id;

  DELETE FROM {table}_queue_changes;
  PERFORM set_config('keda_jobs.claims', '', true);
  RETURN NULL;
END $$;

CREATE TRIGGER {table}_enqueue_deletion AFTER DELETE ON {table}
  FOR EACH STATEMENT EXECUTE FUNCTION {table}_enqueue_changed();
