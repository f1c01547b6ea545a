"""Job users-batch on a table of another name: `python -m queue_job TABLE`."""

from __future__ import annotations

import sys
from dataclasses import replace

from keda_jobs import run
from keda_jobs.batch.job import BatchJob
from keda_jobs.claims import ClaimTable
from users_batch.job import JOB


def job_of(table: str) -> BatchJob:
    """Return the job on `table`, whose name it bears."""
    columns = JOB.table.reads, JOB.table.writes
    return replace(JOB, name=table, table=ClaimTable(table, table, JOB.table.key, *columns))


if __name__ == "__main__":
    run(job_of(sys.argv.pop()))
