-- The number of rows that have failed permanently, for a role that reads no row. It looks at failed rows only, by their
-- index. It is null where they are more than 100000, or where the index is not made yet: whoever asks gets an answer in
-- milliseconds or none.
CREATE FUNCTION keda_jobs.{queue}_failed_permanently() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $body$
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_index WHERE indexrelid = to_regclass({schema_literal} || '.{queue}_queue_failed') AND indisvalid
  ) THEN
    RETURN NULL;
  END IF;
  RETURN (
    SELECT CASE WHEN count(*) <= 100000 THEN count(*) FILTER (WHERE next_attempt_at = 'infinity') END
    FROM (
      SELECT next_attempt_at FROM {table}
      WHERE (error IS NOT NULL OR next_attempt_at = 'infinity') AND batch_status = 'failed' LIMIT 100001
    ) AS failed
  );
END $body$;
