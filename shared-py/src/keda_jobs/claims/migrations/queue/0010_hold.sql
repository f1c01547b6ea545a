-- A hold of the whole queue: a service that the job needs asked that everybody waits. Nothing is claimable while it
-- lasts, so no worker gets rows and the scaler starts none. It ends by itself, by the clock of the server.

CREATE TABLE keda_jobs.{queue}_queue_holds (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  held_until timestamptz NOT NULL,
  reason text NOT NULL
);

COMMENT ON TABLE keda_jobs.{queue}_queue_holds IS 'the last hold of the queue. Delete its row to end it early';

CREATE VIEW keda_jobs.{queue}_queue_on_hold AS
  SELECT held_until, reason FROM keda_jobs.{queue}_queue_holds WHERE is_only AND held_until > now();

-- The two predicates of what is claimable, as before, and no hold.
CREATE OR REPLACE VIEW keda_jobs.{queue}_queue_due AS
  SELECT *, CASE WHEN times IS NULL OR latest <= now() THEN claimable ELSE width_bucket(now(), times) END AS due
  FROM keda_jobs.{queue}_queue
  WHERE batch_id IS NULL AND next_attempt_at <= now() AND (held_back_until IS NULL OR held_back_until <= now())
    AND NOT EXISTS (SELECT FROM keda_jobs.{queue}_queue_on_hold);

CREATE OR REPLACE VIEW keda_jobs.{queue}_queue_expired AS
  SELECT * FROM keda_jobs.batch_jobs
  WHERE batch_name = '{batch_name}' AND status = 'running' AND lease_expires_at <= now()
    AND NOT EXISTS (SELECT FROM keda_jobs.{queue}_queue_on_hold);

-- Holds the queue for that long, at most a day. Workers call it. It never shortens a hold.
CREATE FUNCTION keda_jobs.{queue}_queue_hold(delay_s float8, reason text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
  INSERT INTO keda_jobs.{queue}_queue_holds AS hold (held_until, reason)
  VALUES (clock_timestamp() + make_interval(secs => greatest(0, least($1, 86400))), left($2, 500))
  ON CONFLICT (is_only) DO UPDATE SET held_until = excluded.held_until, reason = excluded.reason
  WHERE excluded.held_until > hold.held_until
$body$;
