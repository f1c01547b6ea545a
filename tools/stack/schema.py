"""The tables of every batch job, by the code behind each job's own `schema` command."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import asyncpg

from keda_jobs.claims import schema
from keda_jobs.claims.table import ClaimTable
from keda_jobs.errors import JobError
from keda_jobs.postgres import Connection
from stack.jobs import batch_jobs, module_of, package_of
from stack.process import StackError

NO_PASSWORDS: Mapping[str, str] = {}


def tables() -> dict[str, ClaimTable]:
    """The table of each batch job. Raises `StackError`."""
    return {job: module_of(job, "job").JOB.table for job in batch_jobs()}


async def apply_each(connection: Connection, passwords: Mapping[str, str] = NO_PASSWORDS) -> dict[str, list[str]]:
    """Apply the migrations of the house and of every batch job; those that were applied, by job. Raises `JobError`.

    `passwords` are those of roles, by name.
    """
    applied = {}
    for job, table in tables().items():
        own = {role: passwords[role] for role in schema.login_roles(table) if role in passwords}
        applied[job] = await schema.apply(connection, table, resources.files(package_of(job)) / "migrations", own)
    return applied


async def apply_schemas(dsn: str) -> None:
    """Apply them all to a local database. Raises `StackError`."""
    # The variable PGSSLMODE of the person's own database would be followed otherwise.
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        await apply_each(connection)
    except JobError as error:
        raise StackError(f"PostgreSQL: {error}") from error
    finally:
        await connection.close()
