"""Tables, queues and roles of every batch job, applied to a database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import environments
from cluster.errors import ClusterError
from cluster.roles import roles
from keda_jobs.claims.table import SCHEMA
from keda_jobs.postgres import Connection, open_connection
from keda_jobs.settings import PgSettings
from stack.schema import apply_each


def apply_all(settings: PgSettings, passwords: Mapping[str, str]) -> dict[str, list[str]]:
    """Apply the schemas with the passwords of the roles, and return the migrations that were applied, by batch job.

    Raises `JobError`, and `ClusterError` for a role without a password and for the database of another environment.
    """
    if missing := [role for role in roles() if role not in passwords]:
        raise ClusterError(f"the Secret postgres has no {', '.join(missing)}; run: make -C k8s secrets")
    return asyncio.run(_apply(settings, passwords))


async def _apply(settings: PgSettings, passwords: Mapping[str, str]) -> dict[str, list[str]]:
    async with open_connection(settings, name="keda-jobs-setup") as connection:
        mark = f"environment {environments.current().environment}"
        await _check_mark(connection, mark)
        applied = await apply_each(connection, passwords)
        await connection.execute(f"COMMENT ON SCHEMA {SCHEMA} IS '{mark}'")
        return applied


async def _check_mark(connection: Connection, mark: str) -> None:
    """Raise `ClusterError` for the database of another environment, whose jobs the new passwords would lock out."""
    found = await connection.fetchval("SELECT obj_description(to_regnamespace($1), 'pg_namespace')", SCHEMA)
    if found not in (None, mark):
        raise ClusterError(
            f"PG_DSN names the database of the {found}; give each environment a PostgreSQL server of its own. For a"
            f" copy of that database, on another server, run there: COMMENT ON SCHEMA {SCHEMA} IS NULL"
        )
