"""`run_batch`: the one line that makes a process of a batch job."""

from __future__ import annotations

import sys
from typing import NoReturn

from keda_jobs.batch.job import BatchJob


def run_batch(job: BatchJob) -> NoReturn:
    """Claim rows until none is claimable, then exit.

    Exit codes: 0 nothing left or told to shutdown, 1 no claim within CLAIM_TIMEOUT_S or a bug, 2 misconfigured.
    """
    # Worker processes of `BatchContext.cpu` import the main module too, and need neither PostgreSQL nor HTTP.
    from keda_jobs.batch.process import serve

    sys.exit(serve(job))
