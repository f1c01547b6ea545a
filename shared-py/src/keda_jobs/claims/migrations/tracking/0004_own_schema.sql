-- What all claim queues of a database share: the list of them, their batches, and how ids become ranges. Everything of
-- the library is in the schema keda_jobs, where only its owner may create. A new database starts with this file. What an
-- earlier version created in the schema of the table moves, with its rows. Whoever may read batch_jobs reads the view.

DO $body$
DECLARE
  granted record;
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_class WHERE oid = to_regclass({schema_literal} || '.batch_queues') AND relowner = 'keda_jobs_owner'::regrole
  ) THEN
    RETURN;
  END IF;
  ALTER TABLE {schema}.batch_queues SET SCHEMA keda_jobs;
  ALTER TABLE {schema}.batch_jobs SET SCHEMA keda_jobs;
  ALTER FUNCTION {schema}.batch_ranges(bigint[], integer, bigint) SET SCHEMA keda_jobs;
  ALTER TABLE keda_jobs.batch_queues DROP CONSTRAINT batch_queues_table_name_key;
  ALTER TABLE keda_jobs.batch_queues ADD COLUMN schema_name text, ADD COLUMN queue_name text;
  UPDATE keda_jobs.batch_queues SET schema_name = {schema_name}, queue_name = table_name;
  ALTER TABLE keda_jobs.batch_queues ALTER schema_name SET NOT NULL, ALTER queue_name SET NOT NULL,
    ADD UNIQUE (queue_name), ADD UNIQUE (schema_name, table_name);
  CREATE VIEW {schema}.batch_jobs AS SELECT * FROM keda_jobs.batch_jobs;
  FOR granted IN
    SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS to_whom
    FROM pg_class, aclexplode(relacl)
    WHERE oid = 'keda_jobs.batch_jobs'::regclass AND privilege_type = 'SELECT' AND grantee <> relowner
  LOOP
    EXECUTE 'GRANT SELECT ON ' || {schema_literal} || '.batch_jobs TO ' || granted.to_whom;
    EXECUTE 'REVOKE ALL ON keda_jobs.batch_jobs, keda_jobs.batch_queues FROM ' || granted.to_whom;
  END LOOP;
END $body$;

CREATE TABLE IF NOT EXISTS keda_jobs.batch_queues (
  batch_name text PRIMARY KEY,
  table_name text NOT NULL,
  key_name text NOT NULL,
  schema_name text NOT NULL,
  queue_name text NOT NULL UNIQUE,
  UNIQUE (schema_name, table_name)
);

COMMENT ON COLUMN keda_jobs.batch_queues.queue_name IS 'what the names of its roles, tables, views and functions begin with';

-- One row a claim. Its counts change in the transaction that changes the rows counted, so they are exact, and its
-- lease is renewed here: one heartbeat row a batch instead of thousands.
CREATE TABLE IF NOT EXISTS keda_jobs.batch_jobs (
  batch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  batch_name text NOT NULL REFERENCES keda_jobs.batch_queues,
  pod_name text NOT NULL,
  status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'completed', 'failed', 'abandoned')),
  claimed integer NOT NULL DEFAULT 0,
  completed integer NOT NULL DEFAULT 0,
  failed integer NOT NULL DEFAULT 0,
  given_up integer NOT NULL DEFAULT 0,
  returned integer NOT NULL DEFAULT 0,
  rows_per_s real NOT NULL DEFAULT 0,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  lease_expires_at timestamptz NOT NULL,
  finished_at timestamptz,
  error text,
  CHECK (given_up <= failed),
  CHECK (completed + failed + returned <= claimed)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);

COMMENT ON COLUMN keda_jobs.batch_jobs.failed IS 'rows that failed in this batch, given_up of them permanently';
COMMENT ON COLUMN keda_jobs.batch_jobs.returned IS
  'rows that left the batch without an outcome: given back, set back by hand, deleted';

-- Neither predicate nor key changes with a heartbeat, so heartbeats stay HOT.
CREATE INDEX IF NOT EXISTS batch_jobs_running ON keda_jobs.batch_jobs (batch_name) WHERE status = 'running';

-- Cuts ids into ranges of at most `most` ids, with no hole between two neighbours wider than `gap`. With a gap of 1
-- a range holds its ids and no others. A wide one keeps the ranges few, and the queue's other columns tell whose ids
-- they are. A claim reads all that lies between the ends of a range, so none reaches over a multiple of a million.
-- Its body is read once, here: no search_path of a caller changes what its names and operators mean.
CREATE OR REPLACE FUNCTION keda_jobs.batch_ranges(ids bigint[], most integer DEFAULT 20000, gap bigint DEFAULT 20000)
RETURNS TABLE (lo bigint, hi bigint, claimable integer)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT min(id), max(id), count(*)::integer
  FROM (
    SELECT id, island, (row_number() OVER (PARTITION BY island ORDER BY id) - 1) / most AS part
    FROM (
      -- Ids of one million differ by less, so the subtraction does not overflow.
      SELECT id, count(*) FILTER (
        WHERE CASE WHEN id / 1000000 <> before / 1000000 THEN true ELSE id - before > gap END
      ) OVER (ORDER BY id) AS island
      FROM (SELECT id, lag(id) OVER (ORDER BY id) AS before FROM unnest(ids) AS id) AS neighbours
    ) AS islands
  ) AS parts
  GROUP BY island, part;
END;
