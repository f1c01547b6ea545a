-- Which row a statement was about to write when it failed: what setval assigns, a rollback does not undo. Each session
-- reads its own last value, so all queues share the sequence, and nobody needs what it holds after a crash.
CREATE UNLOGGED SEQUENCE keda_jobs.batch_tried_row MINVALUE -9223372036854775808;

DROP FUNCTION keda_jobs.batch_isolate;
