"""The tables of every batch job in a local database, by the code behind each job's own `schema` command."""

from __future__ import annotations

import importlib
from importlib import resources

import asyncpg

from keda_jobs.claims import schema
from keda_jobs.errors import JobError
from stack.jobs import batch_jobs, package_of
from stack.process import StackError


async def apply_schemas(dsn: str) -> None:
    """Apply the migrations of the house and of every batch job. Raises `StackError`."""
    # The variable PGSSLMODE of the person's own database would be followed otherwise.
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        for package in map(package_of, batch_jobs()):
            job = importlib.import_module(f"{package}.job").JOB
            await schema.apply(connection, job.table, resources.files(package) / "migrations")
    except JobError as error:
        raise StackError(f"PostgreSQL: {error}") from error
    finally:
        await connection.close()
