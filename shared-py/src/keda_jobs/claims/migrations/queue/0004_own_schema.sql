-- Makes a claim queue of a table: status columns on its rows, and in the schema keda_jobs the ranges of rows that wait.
-- A new queue starts with this file. What an earlier version created in the schema of the table moves, with its ranges.
--
-- No index names batch_status, so with room in the pages every change of status is a HOT update: no index entry is
-- written and the old version goes with the next visit of the page. Who is next stands in {queue}_queue, a row for up
-- to 20000 rows of the table. A row of the table belongs to the range that holds its key and agrees with it in
-- batch_status, next_attempt_at and batch_id (the batch that held it last, the change by hand that queued it, or none).
-- Ranges are hints, the rows are the truth: a range is deleted only by code that looked at its rows.

DO $body$ BEGIN
  IF EXISTS (
    SELECT FROM pg_class WHERE oid = to_regclass({schema_literal} || '.{queue}_queue') AND relowner = 'keda_jobs_owner'::regrole
  ) THEN
    ALTER TABLE {schema}.{queue}_queue SET SCHEMA keda_jobs;
    ALTER TABLE {schema}.{queue}_queue_changes SET SCHEMA keda_jobs;
    ALTER VIEW {schema}.{queue}_queue_due SET SCHEMA keda_jobs;
    ALTER VIEW {schema}.{queue}_queue_expired SET SCHEMA keda_jobs;
    ALTER VIEW {schema}.{queue}_claimable SET SCHEMA keda_jobs;
    ALTER FUNCTION {schema}.{queue}_enqueue_inserted() SET SCHEMA keda_jobs;
    ALTER FUNCTION {schema}.{queue}_note_change() SET SCHEMA keda_jobs;
    ALTER FUNCTION {schema}.{queue}_enqueue_changed() SET SCHEMA keda_jobs;
    ALTER FUNCTION {schema}.{queue}_forget_truncated() SET SCHEMA keda_jobs;
    ALTER FUNCTION {schema}.{queue}_queue_recount(bigint[]) SET SCHEMA keda_jobs;
    DROP FUNCTION {schema}.{queue}_queue_rebuild();
  END IF;
END $body$;

CREATE TABLE IF NOT EXISTS keda_jobs.{queue}_queue (
  range_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  lo bigint NOT NULL,
  hi bigint NOT NULL,
  claimable integer NOT NULL CHECK (claimable > 0),
  batch_status text NOT NULL DEFAULT 'pending' CHECK (batch_status IN ('pending', 'failed')),
  next_attempt_at timestamptz NOT NULL,
  from_batch bigint,
  is_suspect boolean NOT NULL DEFAULT false,
  batch_id bigint,
  held_back_until timestamptz,
  CHECK (lo <= hi)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

COMMENT ON COLUMN keda_jobs.{queue}_queue.from_batch IS 'the batch_id of its rows';
COMMENT ON COLUMN keda_jobs.{queue}_queue.is_suspect IS 'its worker died: claimed alone, in smaller and smaller parts';
COMMENT ON COLUMN keda_jobs.{queue}_queue.batch_id IS 'the batch that holds the range now';
COMMENT ON COLUMN keda_jobs.{queue}_queue.held_back_until IS 'a claim could not get its rows: not tried again before';

CREATE INDEX IF NOT EXISTS {queue}_queue_next ON keda_jobs.{queue}_queue (next_attempt_at, lo) WHERE batch_id IS NULL;
CREATE INDEX IF NOT EXISTS {queue}_queue_held ON keda_jobs.{queue}_queue (batch_id) WHERE batch_id IS NOT NULL;

-- The two predicates of what is claimable. Workers claim through these views and the scaler sums them up, so the two
-- cannot disagree.
CREATE OR REPLACE VIEW keda_jobs.{queue}_queue_due AS
  SELECT * FROM keda_jobs.{queue}_queue
  WHERE batch_id IS NULL AND next_attempt_at <= now() AND (held_back_until IS NULL OR held_back_until <= now());

CREATE OR REPLACE VIEW keda_jobs.{queue}_queue_expired AS
  SELECT * FROM keda_jobs.batch_jobs
  WHERE batch_name = '{batch_name}' AND status = 'running' AND lease_expires_at <= now();

CREATE OR REPLACE VIEW keda_jobs.{queue}_claimable AS
  SELECT (
    (SELECT coalesce(sum(claimable), 0) FROM keda_jobs.{queue}_queue_due)
    + (SELECT coalesce(sum(claimed - completed - failed - returned), 0) FROM keda_jobs.{queue}_queue_expired)
  )::bigint AS rows;

COMMENT ON VIEW keda_jobs.{queue}_claimable IS 'rows that a worker started now would get: the query of the scaler';

-- The batches of this queue, for its worker.
CREATE VIEW keda_jobs.{queue}_batches WITH (security_barrier) AS
  SELECT * FROM keda_jobs.batch_jobs WHERE batch_name = '{batch_name}' WITH CHECK OPTION;

-- The batches of all queues, for people: `SELECT * FROM batch_jobs` works as typed, in the schema of the table. A worker
-- that reads it sees the batches of its own queue. A table of that name stays what it is.
DO $body$ BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_class
    WHERE oid = to_regclass({schema_literal} || '.batch_jobs') AND (relkind <> 'v' OR relowner <> 'keda_jobs_owner'::regrole)
  ) THEN
    CREATE OR REPLACE VIEW {schema}.batch_jobs WITH (security_barrier) AS
      SELECT * FROM keda_jobs.batch_jobs
      WHERE batch_name = coalesce(
        (SELECT batch_name FROM keda_jobs.batch_queues WHERE queue_name || '_worker' = current_user), batch_name
      );
  END IF;
END $body$;

-- Sets ranges to the number of their rows, and deletes those without any. The caller holds the locks of the ranges.
CREATE OR REPLACE FUNCTION keda_jobs.{queue}_queue_recount(ranges bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off SET enable_nestloop = off AS $body$
BEGIN
  WITH counted AS MATERIALIZED (
    SELECT range_id, (
      SELECT count(*)::integer FROM {table} AS row
      WHERE row.{key} BETWEEN lo AND hi AND row.batch_status = range.batch_status
        AND row.next_attempt_at = range.next_attempt_at AND row.batch_id IS NOT DISTINCT FROM range.from_batch
    ) AS rows
    FROM keda_jobs.{queue}_queue AS range WHERE range_id = ANY(ranges)
  ), emptied AS (
    DELETE FROM keda_jobs.{queue}_queue AS range USING counted
    WHERE range.range_id = ANY(ranges) AND range.range_id = counted.range_id AND counted.rows = 0
  )
  UPDATE keda_jobs.{queue}_queue AS range SET claimable = counted.rows FROM counted
  WHERE range.range_id = ANY(ranges) AND range.range_id = counted.range_id AND counted.rows > 0;
END $body$;

-- The functions of the triggers run with the rights of their owner, and find nothing by a search_path: a role that may
-- insert rows and create functions would have its own run. Only their updates of the table have the path of its schema,
-- for triggers of the application, and name the schema of each operator.

-- Rows that an application inserts. Its role needs no right on the queue. The ranges hold no key but theirs: two
-- transactions may insert rows between each other's with the same next_attempt_at.
-- A row that is inserted as processing is in no batch's hands. It waits.
CREATE OR REPLACE FUNCTION keda_jobs.{queue}_enqueue_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $body$
DECLARE
  stray bigint[];
BEGIN
  INSERT INTO keda_jobs.{queue}_queue (lo, hi, claimable, batch_status, next_attempt_at, from_batch)
  SELECT ranges.lo, ranges.hi, ranges.claimable, same.batch_status, same.next_attempt_at, same.batch_id
  FROM (
    SELECT batch_status, next_attempt_at, batch_id, array_agg({key}::bigint) AS ids
    FROM inserted WHERE batch_status IN ('pending', 'failed') AND next_attempt_at < 'infinity' GROUP BY 1, 2, 3
  ) AS same, keda_jobs.batch_ranges(same.ids, gap => 1) AS ranges;
  SELECT array_agg({key}::bigint) INTO stray FROM inserted WHERE batch_status = 'processing';
  IF stray IS NOT NULL THEN
    -- Not yet by a number of a batch that may be running.
    PERFORM set_config('keda_jobs.claims', 'on', true), set_config('search_path', {path}, true);
    UPDATE {table} SET batch_status = 'failed', next_attempt_at = 'infinity', batch_id = NULL
    WHERE {key} OPERATOR(pg_catalog.=) ANY (stray);
    PERFORM pg_catalog.set_config('keda_jobs.claims', '', true);
    UPDATE {table} SET batch_status = 'pending' WHERE {key} OPERATOR(pg_catalog.=) ANY (stray);
  END IF;
  RETURN NULL;
END $body$;

-- Rows that somebody changes by hand (UPDATE ... SET batch_status = 'pending') or deletes. Each is noted, and what a
-- statement noted is queued at its end, all at once: millions may be set back by one. Old columns are what a row was,
-- the others what it became, and none where it was deleted.
CREATE UNLOGGED TABLE IF NOT EXISTS keda_jobs.{queue}_queue_changes (
  key bigint,
  batch_status text,
  next_attempt_at timestamptz,
  old_key bigint NOT NULL,
  old_status text NOT NULL,
  old_next_attempt_at timestamptz NOT NULL,
  old_batch_id bigint
);

CREATE OR REPLACE FUNCTION keda_jobs.{queue}_note_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  INSERT INTO keda_jobs.{queue}_queue_changes VALUES (
    NEW.{key}, NEW.batch_status, NEW.next_attempt_at,
    OLD.{key}, OLD.batch_status, OLD.next_attempt_at, OLD.batch_id
  );
  PERFORM set_config('keda_jobs.changes', 'on', true);
  RETURN NULL;
END $body$;

-- Rows that are changed by hand get a batch_id of their own, the next number of batch_jobs. So ranges that one statement
-- makes hold its rows and no others, and whoever takes a row out of a range subtracts it from the right one.
-- Every statement has one good plan, whatever the session planned before: rows and ranges by their keys, joined by
-- hashes, and for each row that left a range one look into the index of ranges, which LIMIT keeps from becoming a join.
CREATE OR REPLACE FUNCTION keda_jobs.{queue}_enqueue_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off SET enable_nestloop = off AS $body$
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
  change_id := nextval(pg_get_serial_sequence('keda_jobs.batch_jobs', 'batch_id'));

  -- Rows that did not wait start anew, and now unless the statement gave a time.
  PERFORM set_config('search_path', {path}, true);
  UPDATE {table} AS row SET
    batch_id = change_id,
    batch_status =
      CASE WHEN row.batch_status OPERATOR(pg_catalog.=) 'processing' THEN 'pending' ELSE row.batch_status END,
    next_attempt_at = CASE
      WHEN change.starts AND (row.next_attempt_at OPERATOR(pg_catalog.=) change.old_next_attempt_at
        OR row.next_attempt_at OPERATOR(pg_catalog.=) 'infinity') THEN pg_catalog.now()
      ELSE row.next_attempt_at END,
    attempts = CASE
      WHEN change.starts AND change.old_status OPERATOR(pg_catalog.<>) 'processing' THEN 0 ELSE row.attempts END
  FROM (
    SELECT *, batch_status OPERATOR(pg_catalog.<>) 'failed' AND (old_status OPERATOR(pg_catalog.=) 'processing'
      OR old_status OPERATOR(pg_catalog.=) 'completed' OR old_next_attempt_at OPERATOR(pg_catalog.=) 'infinity') AS starts
    FROM keda_jobs.{queue}_queue_changes
    WHERE batch_status OPERATOR(pg_catalog.<>) 'completed'
      AND NOT (batch_status OPERATOR(pg_catalog.=) 'failed' AND next_attempt_at OPERATOR(pg_catalog.=) 'infinity')
  ) AS change
  WHERE row.{key} OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT key FROM keda_jobs.{queue}_queue_changes))
    AND row.{key} OPERATOR(pg_catalog.=) change.key AND row.batch_status OPERATOR(pg_catalog.=) change.batch_status
    AND row.next_attempt_at OPERATOR(pg_catalog.=) change.next_attempt_at;
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

  -- As the rows are now: a trigger of the application may have a say in it.
  INSERT INTO keda_jobs.{queue}_queue (lo, hi, claimable, batch_status, next_attempt_at, from_batch)
  SELECT ranges.lo, ranges.hi, ranges.claimable, same.batch_status, same.next_attempt_at, same.batch_id
  FROM (
    SELECT batch_status, next_attempt_at, batch_id, array_agg({key}::bigint) AS ids
    FROM {table}
    WHERE {key} = ANY(ARRAY(SELECT key FROM keda_jobs.{queue}_queue_changes))
      AND batch_status IN ('pending', 'failed') AND next_attempt_at < 'infinity'
    GROUP BY 1, 2, 3
  ) AS same, keda_jobs.batch_ranges(same.ids, gap => CASE same.batch_id WHEN change_id THEN 250 ELSE 1 END) AS ranges;

  -- A range that is locked is being claimed, and a claim counts what it gets.
  SELECT array_agg(range_id), array_agg(rows) INTO shortened, gone
  FROM (
    SELECT found.range_id, count(*)::integer AS rows
    FROM keda_jobs.{queue}_queue_changes AS change CROSS JOIN LATERAL (
      SELECT range_id FROM (
        SELECT range_id, hi FROM keda_jobs.{queue}_queue AS range
        WHERE batch_id IS NULL AND range.next_attempt_at = change.old_next_attempt_at AND lo <= change.old_key
          AND range.batch_status = change.old_status AND from_batch IS NOT DISTINCT FROM change.old_batch_id
        ORDER BY lo DESC LIMIT 20
      ) AS nearest
      WHERE hi >= change.old_key LIMIT 1
    ) AS found
    WHERE change.old_status IN ('pending', 'failed') AND change.old_next_attempt_at < 'infinity' GROUP BY 1
  ) AS left_by;
  WITH locked AS MATERIALIZED (
    SELECT range_id, claimable FROM keda_jobs.{queue}_queue WHERE range_id = ANY(shortened) AND batch_id IS NULL
    FOR UPDATE SKIP LOCKED
  ), counted AS MATERIALIZED (
    SELECT range_id, claimable - rows AS rest
    FROM locked JOIN unnest(shortened, gone) AS left_by (range_id, rows) USING (range_id)
  ), thinned AS (
    UPDATE keda_jobs.{queue}_queue AS range SET claimable = counted.rest FROM counted
    WHERE range.range_id = ANY(shortened) AND range.range_id = counted.range_id AND counted.rest > 0
  )
  SELECT array_agg(range_id) INTO emptied FROM counted WHERE rest <= 0;
  IF emptied IS NOT NULL THEN
    PERFORM keda_jobs.{queue}_queue_recount(emptied);
  END IF;

  -- A batch that is locked corrects the number itself when it is closed. Waiting for it could be a deadlock.
  WITH taken AS MATERIALIZED (
    SELECT old_batch_id, count(*) AS rows FROM keda_jobs.{queue}_queue_changes WHERE old_status = 'processing' GROUP BY 1
  ), locked AS MATERIALIZED (
    SELECT batch_id FROM keda_jobs.batch_jobs
    WHERE batch_id = ANY(ARRAY(SELECT old_batch_id FROM taken)) AND status = 'running' FOR NO KEY UPDATE SKIP LOCKED
  )
  UPDATE keda_jobs.batch_jobs AS batch SET returned = least(returned + taken.rows, claimed - completed - failed)
  FROM locked JOIN taken ON taken.old_batch_id = locked.batch_id
  WHERE batch.batch_id = ANY(ARRAY(SELECT batch_id FROM locked)) AND batch.batch_id = locked.batch_id;

  DELETE FROM keda_jobs.{queue}_queue_changes;
  PERFORM set_config('keda_jobs.claims', '', true);
  RETURN NULL;
END $body$;

CREATE OR REPLACE FUNCTION keda_jobs.{queue}_forget_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  DELETE FROM keda_jobs.{queue}_queue;
  UPDATE keda_jobs.batch_jobs SET returned = claimed - completed - failed
  WHERE batch_name = '{batch_name}' AND status = 'running';
  RETURN NULL;
END $body$;

-- A queue of an earlier version has all that follows. Nothing of it reads a row: the defaults are no new versions of
-- the rows, and no row that is there can violate the check. Ranges of these rows are made afterwards.
DO $body$ BEGIN
  IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = {table_literal}::regclass AND tgname = '{queue}_note_change') THEN
    RETURN;
  END IF;

  ALTER TABLE {table}
    ADD COLUMN batch_status text NOT NULL DEFAULT 'pending',
    ADD COLUMN attempts smallint NOT NULL DEFAULT 0,
    ADD COLUMN next_attempt_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN error text,
    ADD COLUMN batch_id bigint,
    ADD CONSTRAINT {queue}_batch_status_check
      CHECK (batch_status IN ('pending', 'processing', 'completed', 'failed')) NOT VALID;

  -- A page has to hold two more versions of its rows, the last one longer: measured, 96 % of the updates are HOT at 40
  -- and 80 % at 50. Vacuum starts after 1 % of dead rows and does not pause.
  ALTER TABLE {table} SET (
    fillfactor = 40, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.02
  );

  CREATE TRIGGER {queue}_enqueue_inserted AFTER INSERT ON {table}
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION keda_jobs.{queue}_enqueue_inserted();

  -- Workers see to the ranges themselves and say so by a setting. What they do by the million is told first by cheap
  -- signs: a claim gives a row a higher batch_id than it had, and only a claimed row is completed.
  CREATE TRIGGER {queue}_note_change AFTER UPDATE ON {table} FOR EACH ROW
    WHEN (CASE NEW.batch_status
      WHEN 'completed' THEN OLD.batch_status IN ('pending', 'failed')
      WHEN 'processing' THEN NEW.{key} <> OLD.{key} OR NEW.batch_id IS NULL OR CASE OLD.batch_status
        WHEN 'processing' THEN NEW.batch_id IS DISTINCT FROM OLD.batch_id ELSE NEW.batch_id <= OLD.batch_id END
      ELSE (NEW.{key}, NEW.batch_status, NEW.next_attempt_at, NEW.batch_id)
        IS DISTINCT FROM (OLD.{key}, OLD.batch_status, OLD.next_attempt_at, OLD.batch_id) END
      AND current_setting('keda_jobs.claims', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION keda_jobs.{queue}_note_change();

  CREATE TRIGGER {queue}_enqueue_changed AFTER UPDATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION keda_jobs.{queue}_enqueue_changed();

  CREATE TRIGGER {queue}_note_deletion AFTER DELETE ON {table} FOR EACH ROW
    WHEN (OLD.batch_status <> 'completed') EXECUTE FUNCTION keda_jobs.{queue}_note_change();

  CREATE TRIGGER {queue}_enqueue_deletion AFTER DELETE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION keda_jobs.{queue}_enqueue_changed();

  CREATE TRIGGER {queue}_forget_truncated AFTER TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION keda_jobs.{queue}_forget_truncated();
END $body$;

COMMENT ON COLUMN {table}.attempts IS 'tries that ended, well or not';
COMMENT ON COLUMN {table}.next_attempt_at IS 'claimable from then on; infinity: failed permanently';
COMMENT ON COLUMN {table}.batch_id IS 'the batch that holds or last held the row, or the change by hand that queued it';
