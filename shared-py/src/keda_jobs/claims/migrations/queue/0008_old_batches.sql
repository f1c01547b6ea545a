-- The batches of this queue with the sums of old ones, for totals.
CREATE VIEW keda_jobs.{queue}_batch_totals WITH (security_barrier) AS
  SELECT status, pod_name, 1::bigint AS batches, claimed::bigint, completed::bigint, failed::bigint, given_up::bigint,
    returned::bigint, heartbeat_at, lease_expires_at
  FROM keda_jobs.{queue}_batches
  UNION ALL
  SELECT status, pod_name, batches, completed + failed + returned, completed, failed, given_up, returned, NULL, NULL
  FROM keda_jobs.old_batches WHERE batch_name = '{batch_name}';

-- Sums up to 1000 batches that ended 30 days ago, and deletes them. Returns their number. Workers call it now and then.
CREATE FUNCTION keda_jobs.{queue}_sum_up_old_batches() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off AS $body$
DECLARE
  old bigint[];
BEGIN
  old := ARRAY(
    SELECT batch_id FROM keda_jobs.batch_jobs
    WHERE batch_name = '{batch_name}' AND status <> 'running' AND finished_at < now() - interval '30 days'
    ORDER BY finished_at LIMIT 1000 FOR UPDATE SKIP LOCKED
  );
  IF old = '{}' THEN
    RETURN 0;
  END IF;
  WITH deleted AS (
    DELETE FROM keda_jobs.batch_jobs WHERE batch_id = ANY (old) RETURNING *
  )
  INSERT INTO keda_jobs.old_batches AS total
  SELECT batch_name, status, CASE pod_name WHEN 'keda-jobs batch retry' THEN pod_name ELSE '' END AS pod, count(*),
    sum(completed), sum(failed), sum(given_up), sum(returned)
  FROM deleted GROUP BY batch_name, status, pod
  ON CONFLICT (batch_name, status, pod_name) DO UPDATE SET
    batches = total.batches + excluded.batches, completed = total.completed + excluded.completed,
    failed = total.failed + excluded.failed, given_up = total.given_up + excluded.given_up,
    returned = total.returned + excluded.returned;
  RETURN cardinality(old);
END $body$;
