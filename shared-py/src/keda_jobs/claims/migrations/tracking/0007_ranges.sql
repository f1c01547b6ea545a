-- How rows become ranges: one window of keys where they are dense, and lists of keys where they are not.

-- Packs rows that share status and batch_id into ranges, in order of time and key. Rows of one time whose keys are
-- dense make windows, which hold all keys from lo to hi: the columns of the rows tell whose they are. Other rows are
-- listed, key by key, with their times where these differ. So a claim reads at most ten rows for each that it gets.
-- Where they are not alone, other rows between them may have the same status, time and batch_id. Then all are listed.
CREATE FUNCTION keda_jobs.batch_pack(
  keys bigint[], times timestamptz[], most integer DEFAULT 20000, alone boolean DEFAULT true
)
RETURNS TABLE (
  lo bigint, hi bigint, claimable integer, next_attempt_at timestamptz, latest timestamptz, keys bigint[],
  times timestamptz[]
)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT part.lo, part.hi, part.number, part.first, part.last,
    CASE
      WHEN alone AND part.first = part.last AND part.hi / 10 - part.lo / 10 < part.number THEN NULL
      ELSE part.keys END,
    CASE WHEN part.first < part.last THEN part.times END
  FROM (
    SELECT min(key) AS lo, max(key) AS hi, count(*)::integer AS number, min(moment) AS first, max(moment) AS last,
      array_agg(key ORDER BY moment, key) AS keys, array_agg(moment ORDER BY moment, key) AS times
    FROM (
      SELECT key, moment, (row_number() OVER (ORDER BY moment, key) - 1) / CASE
          WHEN alone AND min(moment) OVER () = max(moment) OVER ()
            AND max(key) OVER () / 10 - min(key) OVER () / 10 < count(*) OVER () THEN most
          ELSE least(most, 1000) END AS part
      FROM unnest($1, $2) AS row (key, moment)
    ) AS numbered
    GROUP BY part
  ) AS part;
END;
