-- The rights of a queue's roles; applied each time, so that a change of them needs no migration.
GRANT USAGE ON SCHEMA {schema} TO {worker}, {scaler}, {exporter};

GRANT SELECT ON {table}, {table}_claimable TO {worker};
GRANT UPDATE ({written}) ON {table} TO {worker};
GRANT SELECT, INSERT, UPDATE, DELETE ON {table}_queue TO {worker};
GRANT SELECT, UPDATE ON {table}_queue_due, {table}_queue_expired TO {worker};
GRANT SELECT ON batch_queues TO {worker};
GRANT SELECT, INSERT, UPDATE, DELETE ON batch_jobs TO {worker};
REVOKE EXECUTE ON FUNCTION {table}_queue_rebuild() FROM PUBLIC;

GRANT SELECT ON {table}_claimable TO {scaler};

-- What the queue says of its rows; never the rows.
GRANT SELECT ON batch_queues, batch_jobs, {table}_claimable, {table}_queue TO {exporter};
