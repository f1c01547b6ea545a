"""Claim queue on a PostgreSQL table: who may work on which rows, for how long, and what became of them.

`ClaimQueue` does it for any table that `schema.apply` made a queue of; `migrations/queue` explains the tables.
"""

from keda_jobs.claims.queue import Batch, ClaimQueue, Failure, LeaseLost, Settled, ValuesRefused
from keda_jobs.claims.table import ClaimTable

__all__ = ["Batch", "ClaimQueue", "ClaimTable", "Failure", "LeaseLost", "Settled", "ValuesRefused"]
