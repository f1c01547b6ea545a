"""Tables of every batch job, applied to a local database or a cluster's."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import asyncpg

from keda_jobs.batch import BatchJob
from keda_jobs.claims import roles, schema
from keda_jobs.errors import JobError
from keda_jobs.postgres import Connection
from stack.jobs import jobs_of, package_name
from stack.process import StackError

NO_PASSWORDS: Mapping[str, str] = {}


async def apply_each(connection: Connection, passwords: Mapping[str, str] = NO_PASSWORDS) -> dict[str, list[str]]:
    """Apply the migrations of the library and of every batch job, and return those that were new, by job.

    `passwords` belong to roles, by name. Raises `JobError`.
    """
    applied = {}
    for job in jobs_of(BatchJob):
        own = {role: passwords[role] for role in roles.login_roles(job.table) if role in passwords}
        migrations = resources.files(package_name(job.name)) / "migrations"
        applied[job.name] = await schema.apply(connection, job.table, migrations, own)
    return applied


async def apply_schemas(dsn: str) -> None:
    """Apply the migrations of all batch jobs to a local database. Raises `StackError`."""
    # asyncpg would follow the variable PGSSLMODE otherwise, which is about the user's own database.
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        await apply_each(connection)
    except JobError as error:
        raise StackError(f"PostgreSQL: {error}") from error
    finally:
        await connection.close()
