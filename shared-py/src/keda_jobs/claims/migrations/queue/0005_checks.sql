-- `keda-jobs batch check` compares rows and ranges and keeps what it found, for the exporter and `batch status`.
CREATE TABLE keda_jobs.{queue}_queue_checks (
  checked_at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
  stranded_rows bigint NOT NULL
);

COMMENT ON COLUMN keda_jobs.{queue}_queue_checks.stranded_rows IS 'rows that no worker gets, left after the check';
