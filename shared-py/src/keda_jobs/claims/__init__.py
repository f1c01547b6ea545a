"""Claim queue on a PostgreSQL table: which worker may work on which rows, for how long, and with what outcome.

`ClaimQueue` works on any table that `schema.apply` turned into a queue. `migrations/queue` explains the tables.
"""

from keda_jobs.claims.outcomes import ValuesRefused
from keda_jobs.claims.queue import ClaimQueue, LeaseLost
from keda_jobs.claims.rows import Batch, Failure, SettledRows
from keda_jobs.claims.table import ClaimTable

__all__ = ["Batch", "ClaimQueue", "ClaimTable", "Failure", "LeaseLost", "SettledRows", "ValuesRefused"]
