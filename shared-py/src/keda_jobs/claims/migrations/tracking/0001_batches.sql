-- What all claim queues of a database share: the list of them, their batches, and how ids become ranges.

CREATE TABLE batch_queues (
  batch_name text PRIMARY KEY,
  table_name text NOT NULL UNIQUE,
  key_name text NOT NULL
);

-- One row a claim. Its counts change in the transaction that changes the rows counted, so they are exact, and its
-- lease is renewed here: one heartbeat row a batch instead of thousands.
CREATE TABLE batch_jobs (
  batch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  batch_name text NOT NULL REFERENCES batch_queues,
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

COMMENT ON COLUMN batch_jobs.failed IS 'rows that failed in this batch; given_up of them for good';
COMMENT ON COLUMN batch_jobs.returned IS 'rows given back unprocessed: a worker was stopped, or died';

-- Neither predicate nor key changes with a heartbeat, so heartbeats stay HOT.
CREATE INDEX batch_jobs_running ON batch_jobs (batch_name) WHERE status = 'running';

-- Cuts ids into ranges of at most `most` ids, with no hole between two neighbours wider than `gap`. With a gap of 1
-- a range holds its ids and no others; a wide one keeps the ranges few, and the queue's other columns tell whose ids
-- they are. A claim reads all that lies between the ends of a range, so none reaches over a multiple of a million.
CREATE FUNCTION batch_ranges(ids bigint[], most integer DEFAULT 20000, gap bigint DEFAULT 20000)
RETURNS TABLE (lo bigint, hi bigint, claimable integer)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT min(id), max(id), count(*)::integer
  FROM (
    SELECT id, island, (row_number() OVER (PARTITION BY island ORDER BY id) - 1) / most AS part
    FROM (
      SELECT id, count(*) FILTER (WHERE id > before + gap OR id / 1000000 <> before / 1000000) OVER (ORDER BY id) AS island
      FROM (SELECT id, lag(id) OVER (ORDER BY id) AS before FROM unnest(ids) AS id) AS neighbours
    ) AS islands
  ) AS parts
  GROUP BY island, part
$$;
