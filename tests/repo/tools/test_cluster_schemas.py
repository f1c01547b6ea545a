"""Schemas of all batch jobs, applied like setup-all.sh does: the roles log in with the passwords of the Secret."""

from __future__ import annotations

from urllib.parse import urlsplit

import asyncpg
from pydantic import SecretStr

from cluster.database import passwords, roles
from cluster.schemas import apply_all
from keda_jobs.batch import BatchJob
from keda_jobs.settings import PgSettings
from stack import PostgresServer
from stack.jobs import job_names


async def test_every_role_logs_in_with_its_password(postgres_server: PostgresServer, database: str) -> None:
    settings = PgSettings(pg_dsn=SecretStr(postgres_server.dsn_of(database)))
    made = passwords({}, {})

    applied = await apply_all(settings, made)

    assert list(applied) == job_names(BatchJob)
    assert all(applied.values())
    address = urlsplit(settings.pg_dsn.get_secret_value())
    for role in roles():
        connection = await asyncpg.connect(
            host=address.hostname, port=address.port, user=role, password=made[role], database=database, ssl=False
        )
        assert await connection.fetchval("SELECT current_user") == role
        await connection.close()
    assert not any((await apply_all(settings, made)).values())
