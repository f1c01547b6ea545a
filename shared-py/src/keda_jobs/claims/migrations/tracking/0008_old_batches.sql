-- Batches that ended long ago, summed up: batch_jobs has a row a claim and would grow for ever.

CREATE TABLE keda_jobs.old_batches (
  batch_name text NOT NULL REFERENCES keda_jobs.batch_queues,
  status text NOT NULL,
  pod_name text NOT NULL,
  batches bigint NOT NULL,
  completed bigint NOT NULL,
  failed bigint NOT NULL,
  given_up bigint NOT NULL,
  returned bigint NOT NULL,
  PRIMARY KEY (batch_name, status, pod_name)
);

COMMENT ON COLUMN keda_jobs.old_batches.pod_name IS 'keda-jobs batch retry, or empty for workers';

-- A batch enters the index when it ends, so heartbeats stay HOT.
CREATE INDEX batch_jobs_ended ON keda_jobs.batch_jobs (batch_name, finished_at) WHERE status <> 'running';
