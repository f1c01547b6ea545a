-- Replaced by batch_pack in number 7 of every queue, which is applied in the same transaction where it was not before.
DROP FUNCTION keda_jobs.batch_ranges(bigint[], integer, bigint);
