-- The rights of a queue's roles. Applied each time, so that a change of them needs no migration.
GRANT USAGE ON SCHEMA keda_jobs TO {worker}, {scaler}, {exporter}, {operator};

-- A superuser named keda_jobs makes functions of its own here, unless it names a schema.
DO $body$
DECLARE
  ours regprocedure;
BEGIN
  FOR ours IN SELECT oid FROM pg_proc
    WHERE pronamespace = 'keda_jobs'::regnamespace AND proowner = 'keda_jobs_owner'::regrole
  LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', ours);
  END LOOP;
END $body$;

REVOKE SELECT, UPDATE, DELETE ON {table} FROM {worker}, {operator};
GRANT SELECT ({read}), UPDATE ({written}){and_delete} ON {table} TO {worker};
GRANT SELECT ({shown}) ON {table} TO {operator};
GRANT SELECT, INSERT, UPDATE, DELETE ON keda_jobs.{queue}_queue, keda_jobs.{queue}_batches TO {worker};
GRANT SELECT, UPDATE ON keda_jobs.{queue}_queue_due, keda_jobs.{queue}_queue_expired TO {worker};
GRANT SELECT, INSERT ON keda_jobs.{queue}_queue_checks TO {worker};
GRANT SELECT ON keda_jobs.batch_queues, keda_jobs.{queue}_claimable TO {worker};
GRANT SELECT ON keda_jobs.{queue}_queue_spans, keda_jobs.{queue}_queue_on_hold TO {worker};
GRANT USAGE, UPDATE ON SEQUENCE keda_jobs.batch_tried_row TO {worker};
GRANT EXECUTE ON FUNCTION
  keda_jobs.batch_pack, keda_jobs.{queue}_queue_recount, keda_jobs.{queue}_queue_find,
  keda_jobs.{queue}_queue_leave, keda_jobs.{queue}_queue_merge, keda_jobs.{queue}_sum_up_old_batches,
  keda_jobs.{queue}_queue_hold
  TO {worker};
GRANT SELECT ON keda_jobs.{queue}_batch_totals TO {worker}, {exporter}, {operator};
GRANT EXECUTE ON FUNCTION keda_jobs.{queue}_failed_permanently TO {exporter};

GRANT SELECT ON keda_jobs.{queue}_claimable TO {scaler};

-- What the queue says of its rows.
GRANT SELECT ON keda_jobs.batch_queues, keda_jobs.{queue}_batches, keda_jobs.{queue}_claimable, keda_jobs.{queue}_queue,
  keda_jobs.{queue}_queue_checks, keda_jobs.{queue}_queue_on_hold TO {exporter}, {operator};

DO $body$ BEGIN
  IF EXISTS (
    SELECT FROM pg_class
    WHERE oid = to_regclass({schema_literal} || '.batch_jobs') AND relkind = 'v' AND relowner = 'keda_jobs_owner'::regrole
  ) THEN
    GRANT SELECT ON {schema}.batch_jobs TO {worker}, {exporter}, {operator};
  END IF;
END $body$;
