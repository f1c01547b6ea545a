-- Makes a claim queue of {table}: status columns on its rows, and beside it the ranges of rows that wait.
--
-- No index names batch_status, so with room in the pages every change of status is a HOT update: no index entry is
-- written and the old version goes with the next visit of the page. Who is next stands in {table}_queue, a row for up
-- to 20000 rows of {table}. A row of {table} belongs to the range that holds its key and agrees with it in
-- batch_status, next_attempt_at and batch_id (the batch that held it last; none for a row that was never claimed).

DO $$ BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
    WHERE indrelid = '{table}'::regclass AND attname = '{key}' AND indnkeyatts = 1 AND indisunique AND indpred IS NULL
      AND atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) AND attnotnull
  ) THEN
    RAISE EXCEPTION '{table} needs {key} as an integer primary key, or a unique index on it and NOT NULL';
  END IF;
END $$;

ALTER TABLE {table}
  ADD COLUMN batch_status text NOT NULL DEFAULT 'pending'
    CHECK (batch_status IN ('pending', 'processing', 'completed', 'failed')),
  ADD COLUMN attempts smallint NOT NULL DEFAULT 0,
  ADD COLUMN next_attempt_at timestamptz NOT NULL DEFAULT now(),
  ADD COLUMN error text,
  ADD COLUMN batch_id bigint;

COMMENT ON COLUMN {table}.attempts IS 'tries that ended, well or not';
COMMENT ON COLUMN {table}.next_attempt_at IS 'claimable from then on; infinity: failed for good';
COMMENT ON COLUMN {table}.batch_id IS 'the batch that holds or last held the row';

-- A page has to hold two more versions of its rows, the last one longer: measured, 96 % of the updates are HOT at 40
-- and 80 % at 50. Vacuum starts after 1 % of dead rows and does not pause.
ALTER TABLE {table} SET (
  fillfactor = 40, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_scale_factor = 0.02
);

CREATE TABLE {table}_queue (
  range_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  lo bigint NOT NULL,
  hi bigint NOT NULL,
  claimable integer NOT NULL CHECK (claimable > 0),
  batch_status text NOT NULL DEFAULT 'pending' CHECK (batch_status IN ('pending', 'failed')),
  next_attempt_at timestamptz NOT NULL,
  from_batch bigint,
  is_suspect boolean NOT NULL DEFAULT false,
  batch_id bigint,
  CHECK (lo <= hi)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

COMMENT ON COLUMN {table}_queue.from_batch IS 'the batch_id of its rows';
COMMENT ON COLUMN {table}_queue.is_suspect IS 'its worker died: claimed alone, in smaller and smaller parts';
COMMENT ON COLUMN {table}_queue.batch_id IS 'the batch that holds the range now';

CREATE INDEX {table}_queue_next ON {table}_queue (next_attempt_at, lo) WHERE batch_id IS NULL;
CREATE INDEX {table}_queue_held ON {table}_queue (batch_id) WHERE batch_id IS NOT NULL;

-- The two predicates of what is claimable. Workers claim through these views and the scaler sums them up, so the two
-- cannot disagree.
CREATE VIEW {table}_queue_due AS
  SELECT * FROM {table}_queue WHERE batch_id IS NULL AND next_attempt_at <= now();

CREATE VIEW {table}_queue_expired AS
  SELECT * FROM batch_jobs
  WHERE batch_name = '{batch_name}' AND status = 'running' AND lease_expires_at <= now();

CREATE VIEW {table}_claimable AS
  SELECT (
    (SELECT coalesce(sum(claimable), 0) FROM {table}_queue_due)
    + (SELECT coalesce(sum(claimed - completed - failed - returned), 0) FROM {table}_queue_expired)
  )::bigint AS rows;

COMMENT ON VIEW {table}_claimable IS 'rows that a worker started now would get; the query of the scaler';

-- Rows that an application inserts. Its role needs no right on the queue. The ranges hold no key but theirs: two
-- transactions may insert rows between each other's with the same next_attempt_at.
CREATE FUNCTION {table}_enqueue_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
  INSERT INTO {table}_queue (lo, hi, claimable, batch_status, next_attempt_at, from_batch)
  SELECT ranges.lo, ranges.hi, ranges.claimable, same.batch_status, same.next_attempt_at, same.batch_id
  FROM (
    SELECT batch_status, next_attempt_at, batch_id, array_agg({key}::bigint) AS ids
    FROM inserted WHERE batch_status IN ('pending', 'failed') AND next_attempt_at < 'infinity' GROUP BY 1, 2, 3
  ) AS same, batch_ranges(same.ids, gap => 1) AS ranges;
  RETURN NULL;
END $$;

CREATE TRIGGER {table}_enqueue_inserted AFTER INSERT ON {table}
  REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION {table}_enqueue_inserted();

-- Rows that somebody sets back or puts off by hand (UPDATE … SET batch_status = 'pending'). Each is noted, and what a
-- statement noted is queued at its end, all at once: millions may be set back by one.
CREATE UNLOGGED TABLE {table}_queue_changes (
  key bigint NOT NULL,
  batch_status text NOT NULL,
  next_attempt_at timestamptz NOT NULL,
  batch_id bigint,
  old_key bigint NOT NULL,
  old_status text NOT NULL,
  old_next_attempt_at timestamptz NOT NULL,
  old_batch_id bigint
);

CREATE FUNCTION {table}_note_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
  INSERT INTO {table}_queue_changes VALUES (
    NEW.{key}, NEW.batch_status, NEW.next_attempt_at, NEW.batch_id,
    OLD.{key}, OLD.batch_status, OLD.next_attempt_at, OLD.batch_id
  );
  PERFORM set_config('keda_jobs.changes', 'on', true);
  RETURN NULL;
END $$;

-- Workers, which see to the ranges themselves, say so by a setting. WHEN looks first at what rules out the updates
-- they make by the million; measured, it costs them 0.1 µs each.
CREATE TRIGGER {table}_note_change AFTER UPDATE ON {table} FOR EACH ROW
  WHEN (NEW.batch_status <> 'processing' AND NEW.batch_status <> 'completed'
    AND (NEW.{key}, NEW.batch_status, NEW.next_attempt_at, NEW.batch_id)
      IS DISTINCT FROM (OLD.{key}, OLD.batch_status, OLD.next_attempt_at, OLD.batch_id)
    AND current_setting('keda_jobs.claims', true) IS DISTINCT FROM 'on')
  EXECUTE FUNCTION {table}_note_change();

CREATE FUNCTION {table}_enqueue_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
  moment timestamptz := clock_timestamp();
BEGIN
  IF current_setting('keda_jobs.changes', true) IS DISTINCT FROM 'on' THEN
    RETURN NULL;
  END IF;
  PERFORM set_config('keda_jobs.changes', '', true), set_config('keda_jobs.claims', 'on', true);

  -- Rows that did not wait start anew, and now unless the statement gave a time: with the one they had, they could be
  -- taken for rows of an older range.
  UPDATE {table}_queue_changes SET next_attempt_at = moment
  WHERE batch_status = 'pending' AND (old_status IN ('processing', 'completed') OR old_next_attempt_at = 'infinity')
    AND next_attempt_at IN (old_next_attempt_at, 'infinity');
  UPDATE {table} AS row SET
    next_attempt_at = change.next_attempt_at,
    attempts = CASE change.old_status WHEN 'processing' THEN attempts ELSE 0 END
  FROM {table}_queue_changes AS change
  WHERE row.{key} = change.key AND change.batch_status = 'pending'
    AND (change.old_status IN ('processing', 'completed') OR change.old_next_attempt_at = 'infinity');
  UPDATE batch_jobs AS batch SET returned = returned + gone.rows
  FROM (
    SELECT old_batch_id, count(*) AS rows FROM {table}_queue_changes WHERE old_status = 'processing' GROUP BY 1
  ) AS gone
  WHERE batch.batch_id = gone.old_batch_id AND batch.status = 'running';

  -- A range that is locked is being claimed, and a claim counts what it gets.
  WITH left_by AS MATERIALIZED (
    SELECT found.range_id, count(*) AS rows
    FROM {table}_queue_changes AS change CROSS JOIN LATERAL (
      SELECT range_id FROM {table}_queue AS range
      WHERE batch_id IS NULL AND range.next_attempt_at = change.old_next_attempt_at
        AND lo <= change.old_key AND hi >= change.old_key
        AND range.batch_status = change.old_status AND from_batch IS NOT DISTINCT FROM change.old_batch_id
      ORDER BY lo DESC LIMIT 1
    ) AS found
    WHERE change.old_status IN ('pending', 'failed') GROUP BY 1
  ), locked AS MATERIALIZED (
    SELECT range_id, claimable, left_by.rows FROM {table}_queue AS range JOIN left_by USING (range_id)
    WHERE batch_id IS NULL FOR UPDATE OF range SKIP LOCKED
  ), emptied AS (
    DELETE FROM {table}_queue AS range USING locked
    WHERE range.range_id = locked.range_id AND locked.claimable <= locked.rows
  )
  UPDATE {table}_queue AS range SET claimable = range.claimable - locked.rows
  FROM locked WHERE range.range_id = locked.range_id AND locked.claimable > locked.rows;

  INSERT INTO {table}_queue (lo, hi, claimable, batch_status, next_attempt_at, from_batch)
  SELECT ranges.lo, ranges.hi, ranges.claimable, same.batch_status, same.next_attempt_at, same.batch_id
  FROM (
    SELECT batch_status, next_attempt_at, batch_id, array_agg(key) AS ids
    FROM {table}_queue_changes WHERE next_attempt_at < 'infinity' GROUP BY 1, 2, 3
  ) AS same, batch_ranges(same.ids, gap => CASE same.next_attempt_at WHEN moment THEN 250 ELSE 1 END) AS ranges;

  DELETE FROM {table}_queue_changes;
  PERFORM set_config('keda_jobs.claims', '', true);
  RETURN NULL;
END $$;

CREATE TRIGGER {table}_enqueue_changed AFTER UPDATE ON {table}
  FOR EACH STATEMENT EXECUTE FUNCTION {table}_enqueue_changed();

CREATE FUNCTION {table}_forget_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
  DELETE FROM {table}_queue;
  UPDATE batch_jobs SET returned = claimed - completed - failed
  WHERE batch_name = '{batch_name}' AND status = 'running';
  RETURN NULL;
END $$;

CREATE TRIGGER {table}_forget_truncated AFTER TRUNCATE ON {table}
  FOR EACH STATEMENT EXECUTE FUNCTION {table}_forget_truncated();

-- Makes the waiting ranges anew from the rows, and sets rows free whose batch is gone: after a bulk load with the
-- triggers off, for a table that had rows before it had a queue, and after repairs by hand. Writes of rows wait for it.
-- Ranges are cut by 20000 rows of the table, not by keys, which may lie far apart. Returns the number of rows queued.
CREATE FUNCTION {table}_queue_rebuild() RETURNS bigint
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
  queued bigint;
BEGIN
  LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;
  UPDATE {table} SET batch_status = 'pending', next_attempt_at = now()
  WHERE batch_status = 'processing' AND NOT EXISTS (
    SELECT FROM batch_jobs WHERE batch_jobs.batch_id = {table}.batch_id AND status = 'running'
  );
  -- A locked range belongs to a claim that waits for the lock of the table: waiting for it would be a deadlock, and
  -- should its rows be queued twice, whoever comes second finds none and drops the range.
  DELETE FROM {table}_queue WHERE range_id IN (
    SELECT range_id FROM {table}_queue AS range
    WHERE NOT EXISTS (SELECT FROM batch_jobs WHERE batch_jobs.batch_id = range.batch_id AND status = 'running')
    FOR UPDATE SKIP LOCKED
  );
  WITH ranges AS (
    INSERT INTO {table}_queue (lo, hi, claimable, batch_status, next_attempt_at, from_batch)
    SELECT min({key}), max({key}), count(*), batch_status, next_attempt_at, batch_id
    FROM (
      SELECT {key}, batch_status, next_attempt_at, batch_id, (row_number() OVER (ORDER BY {key}) - 1) / 20000 AS stretch
      FROM {table}
    ) AS rows
    WHERE batch_status IN ('pending', 'failed') AND next_attempt_at < 'infinity'
    GROUP BY stretch, batch_status, next_attempt_at, batch_id
    RETURNING claimable
  )
  SELECT coalesce(sum(claimable), 0) INTO queued FROM ranges;
  RETURN queued;
END $$;

INSERT INTO batch_queues (batch_name, table_name, key_name) VALUES ('{batch_name}', '{table}', '{key}');
SELECT {table}_queue_rebuild();
