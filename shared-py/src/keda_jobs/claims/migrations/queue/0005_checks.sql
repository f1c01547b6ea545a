-- `keda-jobs batch check` compares rows and ranges and keeps what it found, for the exporter and `batch status`. It
-- replaces the rebuild, which locked writers out.
DROP FUNCTION keda_jobs.{queue}_queue_rebuild();

CREATE TABLE keda_jobs.{queue}_queue_checks (
  checked_at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
  stranded_rows bigint NOT NULL
);

COMMENT ON COLUMN keda_jobs.{queue}_queue_checks.stranded_rows IS 'rows that no worker gets, left after the check';

-- Failed rows are found without reading the others. The index names no status: rows that complete at their first
-- attempt stay HOT.
CREATE INDEX {queue}_queue_failed ON {table} ({key}) WHERE error IS NOT NULL OR next_attempt_at = 'infinity';
