-- Ranges of rows whose keys or times lie far apart: they list their rows. A window holds every key from lo to hi, and
-- whose rows those are the other columns tell. So scattered keys and a time for each row make few ranges, and a claim
-- reads few rows that it does not get.

ALTER TABLE keda_jobs.{queue}_queue
  ADD COLUMN latest timestamptz,
  ADD COLUMN keys bigint[],
  ADD COLUMN times timestamptz[];
ALTER TABLE keda_jobs.{queue}_queue ALTER keys SET STORAGE EXTERNAL, ALTER times SET STORAGE EXTERNAL;

COMMENT ON COLUMN keda_jobs.{queue}_queue.latest IS 'the last time of its rows, none where they have only one';
COMMENT ON COLUMN keda_jobs.{queue}_queue.keys IS 'its rows by time and key, none where it holds all from lo to hi';
COMMENT ON COLUMN keda_jobs.{queue}_queue.times IS 'next_attempt_at of each of the keys, none where they have one';

CREATE INDEX {queue}_queue_lists ON keda_jobs.{queue}_queue (coalesce(from_batch, 0), next_attempt_at, lo)
WHERE batch_id IS NULL AND keys IS NOT NULL;

-- What a range holds: rows of one time from one key to another, or each listed row. All that tells its rows comes out
-- of the inner query, so that no plan reads rows of the table before it knows their keys.
CREATE VIEW keda_jobs.{queue}_queue_spans AS
  SELECT range_id, range.lo AS range_lo, range.hi AS range_hi, range.batch_id, range.is_suspect, tries, span.*
  FROM keda_jobs.{queue}_queue AS range CROSS JOIN LATERAL (
    SELECT range.lo, range.hi, range.batch_status, range.next_attempt_at, range.from_batch WHERE keys IS NULL
    UNION ALL
    SELECT key, key, range.batch_status, coalesce(moment, range.next_attempt_at), range.from_batch
    FROM unnest(keys, times) AS listed (key, moment)
  ) AS span;

CREATE OR REPLACE VIEW keda_jobs.{queue}_queue_due AS
  SELECT *, CASE WHEN times IS NULL OR latest <= now() THEN claimable ELSE width_bucket(now(), times) END AS due
  FROM keda_jobs.{queue}_queue
  WHERE batch_id IS NULL AND next_attempt_at <= now() AND (held_back_until IS NULL OR held_back_until <= now());

CREATE OR REPLACE VIEW keda_jobs.{queue}_claimable AS
  SELECT (
    (SELECT coalesce(sum(due), 0) FROM keda_jobs.{queue}_queue_due)
    + (SELECT coalesce(sum(claimed - completed - failed - returned), 0) FROM keda_jobs.{queue}_queue_expired)
  )::bigint AS rows;

-- Sets ranges to their rows, and deletes those without any. The caller holds the locks of the ranges. The functions
-- name every setting of their plans, because each of their callers has its own.
CREATE OR REPLACE FUNCTION keda_jobs.{queue}_queue_recount(ranges bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off SET enable_hashjoin = off
SET enable_nestloop = on AS $body$
BEGIN
  WITH counted AS MATERIALIZED (
    SELECT range_id, waiting.*
    FROM keda_jobs.{queue}_queue AS range CROSS JOIN LATERAL (
      SELECT count(*)::integer AS number, min(row.next_attempt_at) AS first, max(row.next_attempt_at) AS last,
        array_agg(row.{key}::bigint ORDER BY row.next_attempt_at, row.{key})
          FILTER (WHERE range.keys IS NOT NULL) AS keys,
        array_agg(row.next_attempt_at ORDER BY row.next_attempt_at, row.{key})
          FILTER (WHERE range.keys IS NOT NULL) AS times
      FROM keda_jobs.{queue}_queue_spans AS span JOIN {table} AS row
        ON row.{key} BETWEEN span.lo AND span.hi AND row.batch_status = span.batch_status
        AND row.next_attempt_at = span.next_attempt_at AND row.batch_id IS NOT DISTINCT FROM span.from_batch
      WHERE span.range_id = range.range_id
    ) AS waiting
    WHERE range_id = ANY(ranges)
  ), emptied AS (
    DELETE FROM keda_jobs.{queue}_queue AS range USING counted
    WHERE range.range_id = counted.range_id AND counted.number = 0
  )
  UPDATE keda_jobs.{queue}_queue AS range SET
    claimable = counted.number, next_attempt_at = counted.first, latest = counted.last, keys = counted.keys,
    times = CASE WHEN counted.first < counted.last THEN counted.times END
  FROM counted
  WHERE range.range_id = counted.range_id AND counted.number > 0;
END $body$;

-- The ranges that rows are in, by what the rows are or were. A row in none, or in one that is not among the next, is
-- left out: its range counts a row too many until a claim looks at it.
CREATE FUNCTION keda_jobs.{queue}_queue_find(
  keys bigint[], times timestamptz[], statuses text[], batches bigint[]
) RETURNS TABLE (found_id bigint, found_keys bigint[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off SET enable_hashjoin = on
SET enable_nestloop = on AS $body$
BEGIN
  RETURN QUERY
  SELECT found.range_id, array_agg(row.key)
  FROM unnest($1, $2, $3, $4) AS row (key, moment, status, batch) CROSS JOIN LATERAL (
    SELECT near.range_id FROM (
      (
        SELECT dense.range_id, dense.hi, NULL::bigint[] AS keys FROM keda_jobs.{queue}_queue AS dense
        WHERE dense.batch_id IS NULL AND dense.next_attempt_at = row.moment AND dense.lo <= row.key
          AND dense.keys IS NULL AND dense.batch_status = row.status AND dense.from_batch IS NOT DISTINCT FROM row.batch
        ORDER BY dense.lo DESC LIMIT 20
      ) UNION ALL (
        SELECT list.range_id, list.hi, list.keys FROM keda_jobs.{queue}_queue AS list
        WHERE list.batch_id IS NULL AND list.keys IS NOT NULL AND coalesce(list.from_batch, 0) = coalesce(row.batch, 0)
          AND (list.next_attempt_at, list.lo) <= (row.moment, row.key)
          AND list.latest >= row.moment AND list.hi >= row.key AND list.batch_status = row.status
        ORDER BY list.next_attempt_at DESC, list.lo DESC LIMIT 20
      )
    ) AS near
    WHERE near.hi >= row.key AND (near.keys IS NULL OR row.key = ANY(near.keys)) LIMIT 1
  ) AS found
  WHERE row.status IN ('pending', 'failed') AND row.moment < 'infinity' GROUP BY found.range_id;
END $body$;

-- Replaces small ranges that are due by lists of their rows. An application that inserts row by row makes a range of
-- each, and a claim would take thousands.
CREATE FUNCTION keda_jobs.{queue}_queue_merge(most integer) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off SET enable_hashjoin = on
SET enable_nestloop = on AS $body$
  WITH small AS MATERIALIZED (
    SELECT range_id, lo, hi, batch_status, next_attempt_at, from_batch FROM keda_jobs.{queue}_queue_due
    WHERE claimable < 100 AND hi - lo < claimable AND keys IS NULL AND NOT is_suspect AND held_back_until IS NULL
    ORDER BY next_attempt_at, lo LIMIT most FOR UPDATE SKIP LOCKED
  ), replaced AS (
    DELETE FROM keda_jobs.{queue}_queue WHERE range_id = ANY(ARRAY(SELECT range_id FROM small))
  )
  INSERT INTO keda_jobs.{queue}_queue
    (lo, hi, claimable, batch_status, next_attempt_at, from_batch, latest, keys, times)
  SELECT range.lo, range.hi, range.claimable, alike.batch_status, range.next_attempt_at, alike.from_batch, range.latest,
    range.keys, range.times
  FROM (
    SELECT batch_status, from_batch, array_agg(key) AS keys, array_agg(next_attempt_at) AS times
    FROM small, generate_series(lo, hi) AS key GROUP BY 1, 2
  ) AS alike, keda_jobs.batch_pack(alike.keys, alike.times, alone => false) AS range
$body$;

-- Takes rows out of their ranges, by what they were: keys, times, statuses, batches. A range that is locked is being
-- claimed, and a claim counts what it gets.
CREATE FUNCTION keda_jobs.{queue}_queue_leave(bigint[], timestamptz[], text[], bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off SET enable_hashjoin = on
SET enable_nestloop = on AS $body$
DECLARE
  emptied bigint[];
BEGIN
  WITH gone AS MATERIALIZED (
    SELECT found_id AS range_id, found_keys AS keys FROM keda_jobs.{queue}_queue_find($1, $2, $3, $4)
  ), locked AS MATERIALIZED (
    SELECT range_id, claimable, keys, times, latest FROM keda_jobs.{queue}_queue
    WHERE range_id = ANY(ARRAY(SELECT range_id FROM gone)) AND batch_id IS NULL FOR UPDATE SKIP LOCKED
  ), thinned AS MATERIALIZED (
    SELECT range_id, claimable - cardinality(gone.keys) AS rest, listed.*
    FROM gone JOIN locked USING (range_id) CROSS JOIN LATERAL (
      SELECT min(moment) AS first, max(moment) AS last, array_agg(key ORDER BY number) AS keys,
        array_agg(moment ORDER BY number) AS times
      FROM unnest(locked.keys, locked.times) WITH ORDINALITY AS item (key, moment, number)
      WHERE NOT EXISTS (SELECT FROM unnest(gone.keys) AS left_key WHERE left_key = key)
    ) AS listed
  ), updated AS (
    UPDATE keda_jobs.{queue}_queue AS range SET
      claimable = rest, keys = thinned.keys,
      next_attempt_at = coalesce(thinned.first, range.next_attempt_at), latest = coalesce(thinned.last, range.latest),
      times = CASE WHEN thinned.first < thinned.last THEN thinned.times END
    FROM thinned
    WHERE range.range_id = ANY(ARRAY(SELECT range_id FROM thinned)) AND range.range_id = thinned.range_id AND rest > 0
  )
  SELECT array_agg(range_id) INTO emptied FROM thinned WHERE rest <= 0;
  IF emptied IS NOT NULL THEN
    PERFORM keda_jobs.{queue}_queue_recount(emptied);
  END IF;
END $body$;

-- A row that is inserted as processing is in no batch's hands. It waits.
CREATE FUNCTION keda_jobs.{queue}_enqueue_stray(stray bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $body$
BEGIN
  -- Not yet by a number of a batch that may be running.
  PERFORM set_config('keda_jobs.claims', 'on', true), set_config('search_path', {path}, true);
  UPDATE {table} SET batch_status = 'failed', next_attempt_at = 'infinity', batch_id = NULL
  WHERE {key} OPERATOR(pg_catalog.=) ANY (stray);
  PERFORM pg_catalog.set_config('keda_jobs.claims', '', true);
  UPDATE {table} SET batch_status = 'pending' WHERE {key} OPERATOR(pg_catalog.=) ANY (stray);
END $body$;

-- Rows that an application inserts. Its role needs no right on the queue. Most statements insert rows of one time with
-- keys in a row: one look at them, without a sort. Keys with gaps make windows where the time of the rows is now(),
-- which tells them from those of other transactions. All others are listed, because two transactions may insert rows
-- between each other's.
CREATE OR REPLACE FUNCTION keda_jobs.{queue}_enqueue_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
#variable_conflict use_variable
DECLARE
  whole record;
  most integer;
BEGIN
  INSERT INTO keda_jobs.{queue}_queue (lo, hi, claimable, next_attempt_at)
  SELECT min({key}), max({key}), count(*), min(next_attempt_at) FROM inserted
  HAVING bool_and(batch_status = 'pending' AND batch_id IS NULL) AND count(*) <= 20000
    AND min(next_attempt_at) = max(next_attempt_at) AND max(next_attempt_at) < 'infinity'
    AND max({key}) - count(*) + 1 = min({key});
  IF FOUND THEN
    RETURN NULL;
  END IF;

  SELECT min({key})::bigint AS lo, max({key})::bigint AS hi, count(*) AS number, max(next_attempt_at) AS moment,
    bool_and(batch_status = 'pending' AND batch_id IS NULL) AND min(next_attempt_at) = max(next_attempt_at)
      AND max(next_attempt_at) < 'infinity' AS are_alike,
    array_agg({key}::bigint) FILTER (WHERE batch_status = 'processing') AS stray
  INTO whole FROM inserted;
  IF whole.are_alike AND whole.hi - whole.number + 1 = whole.lo THEN
    INSERT INTO keda_jobs.{queue}_queue (lo, hi, claimable, next_attempt_at)
    SELECT lo, least(lo + 19999, whole.hi), least(20000, whole.hi - lo + 1), whole.moment
    FROM (SELECT whole.lo + 20000 * part AS lo FROM generate_series(0, (whole.number - 1) / 20000) AS part) AS parts;
    RETURN NULL;
  END IF;

  most := CASE
    WHEN whole.are_alike AND whole.moment = now() AND whole.hi / 10 - whole.lo / 10 < whole.number THEN 20000
    ELSE 1000 END;
  INSERT INTO keda_jobs.{queue}_queue
    (lo, hi, claimable, batch_status, next_attempt_at, from_batch, latest, keys, times)
  SELECT lo, hi, number, batch_status, first, batch_id, last,
    CASE WHEN most = 20000 AND hi / 10 - lo / 10 < number THEN NULL ELSE keys END,
    CASE WHEN first < last THEN times END
  FROM (
    SELECT batch_status, batch_id, min(key) AS lo, max(key) AS hi, count(*) AS number, min(moment) AS first,
      max(moment) AS last, array_agg(key ORDER BY moment, key) AS keys, array_agg(moment ORDER BY moment, key) AS times
    FROM (
      SELECT {key}::bigint AS key, next_attempt_at AS moment, batch_status, batch_id,
        (row_number() OVER (PARTITION BY batch_status, batch_id ORDER BY next_attempt_at, {key}) - 1) / most AS part
      FROM inserted WHERE batch_status IN ('pending', 'failed') AND next_attempt_at < 'infinity'
    ) AS numbered
    GROUP BY batch_status, batch_id, part
  ) AS parts;
  IF whole.stray IS NOT NULL THEN
    PERFORM keda_jobs.{queue}_enqueue_stray(whole.stray);
  END IF;
  RETURN NULL;
END $body$;

-- Rows that are changed by hand get a batch_id of their own, the next number of batch_jobs. So ranges that one
-- statement makes hold its rows and no others, and whoever takes a row out of a range takes it from the right one.
-- Every statement has one good plan, whatever the session planned before: rows and ranges by their keys, joined by
-- hashes. Millions of changes are seen to by pages of their table: no array holds more than 67 million.
CREATE OR REPLACE FUNCTION keda_jobs.{queue}_enqueue_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off SET enable_nestloop = off AS $body$
#variable_conflict use_variable
DECLARE
  change_id bigint;
  pages integer;
  first tid;
  beyond tid;
  was record;
BEGIN
  IF current_setting('keda_jobs.changes', true) IS DISTINCT FROM 'on' THEN
    RETURN NULL;
  END IF;
  PERFORM set_config('keda_jobs.changes', '', true), set_config('keda_jobs.claims', 'on', true);
  change_id := nextval(pg_get_serial_sequence('keda_jobs.batch_jobs', 'batch_id'));

  pages := pg_relation_size('keda_jobs.{queue}_queue_changes') / current_setting('block_size')::integer;
  FOR page IN 0 .. pages BY 5000 LOOP
    first := format('(%s,0)', page)::tid;
    beyond := format('(%s,0)', page + 5000)::tid;
    SELECT array_agg(key) AS new_keys, array_agg(old_key) AS keys, array_agg(old_next_attempt_at) AS times,
      array_agg(old_status) AS statuses, array_agg(old_batch_id) AS batches
    INTO was FROM keda_jobs.{queue}_queue_changes WHERE ctid >= first AND ctid < beyond;
    CONTINUE WHEN was.keys IS NULL;

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
        OR old_status OPERATOR(pg_catalog.=) 'completed'
        OR old_next_attempt_at OPERATOR(pg_catalog.=) 'infinity') AS starts
      FROM keda_jobs.{queue}_queue_changes
      WHERE ctid OPERATOR(pg_catalog.>=) first AND ctid OPERATOR(pg_catalog.<) beyond
        AND batch_status OPERATOR(pg_catalog.<>) 'completed'
        AND NOT (batch_status OPERATOR(pg_catalog.=) 'failed' AND next_attempt_at OPERATOR(pg_catalog.=) 'infinity')
    ) AS change
    WHERE row.{key} OPERATOR(pg_catalog.=) ANY (was.new_keys)
      AND row.{key} OPERATOR(pg_catalog.=) change.key AND row.batch_status OPERATOR(pg_catalog.=) change.batch_status
      AND row.next_attempt_at OPERATOR(pg_catalog.=) change.next_attempt_at;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    -- As the rows are now: a trigger of the application may have a say in it.
    INSERT INTO keda_jobs.{queue}_queue
      (lo, hi, claimable, batch_status, next_attempt_at, from_batch, latest, keys, times)
    SELECT range.lo, range.hi, range.claimable, alike.batch_status, range.next_attempt_at, alike.batch_id, range.latest,
      range.keys, range.times
    FROM (
      SELECT batch_status, batch_id, array_agg({key}::bigint) AS keys, array_agg(next_attempt_at) AS times
      FROM {table}
      WHERE {key} = ANY(was.new_keys) AND batch_status IN ('pending', 'failed') AND next_attempt_at < 'infinity'
      GROUP BY 1, 2
    ) AS alike,
      keda_jobs.batch_pack(alike.keys, alike.times, alone => alike.batch_id IS NOT DISTINCT FROM change_id) AS range;

    PERFORM keda_jobs.{queue}_queue_leave(was.keys, was.times, was.statuses, was.batches);
  END LOOP;

  -- A batch that is locked corrects the number itself when it is closed. Waiting for it could be a deadlock.
  WITH taken AS MATERIALIZED (
    SELECT old_batch_id, count(*) AS rows FROM keda_jobs.{queue}_queue_changes
    WHERE old_status = 'processing' GROUP BY 1
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
