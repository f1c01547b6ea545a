"""Upgrades of queues that an earlier version made in the schema of their table, with rows and ranges."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.claims import schema
from keda_jobs.claims.roles import OWNER
from stack import PostgresServer

from .conftest import new_queue_migrations, tracking_names, write_migrations
from .example_tables import INVOICES, USERS, ExampleTable
from .harness import Owner, QueueHarness

_RECORDS = """
CREATE TABLE IF NOT EXISTS batch_migrations (
  scope text NOT NULL,
  number integer NOT NULL,
  name text NOT NULL,
  sha256 text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (scope, number)
)"""
_LAST = 3

# What versions of the library up to the third may leave: a batch of a dead worker, a row put off, a failed one.
_WORK = """
INSERT INTO batch_jobs (batch_name, pod_name, lease_expires_at, claimed) VALUES ('users-batch', 'old', now(), 5);
SET keda_jobs.claims = 'on';
UPDATE users_queue SET batch_id = (SELECT batch_id FROM batch_jobs) WHERE lo = 1;
UPDATE users SET batch_status = 'processing', batch_id = (SELECT batch_id FROM batch_jobs) WHERE id <= 5;
RESET keda_jobs.claims"""


class EarlierVersion:
    """Installer of a queue as an earlier version made it."""

    def __init__(self, owner: Owner, number: int) -> None:
        self._owner = owner
        self._number = number
        self._files = resources.files("keda_jobs.claims").joinpath("migrations")

    async def install(self, example: ExampleTable, schema: str) -> None:
        """Apply the migrations up to the number, in that schema, as the earlier version did."""
        names = {
            "table": example.table.name,
            "key": example.table.key,
            "batch_name": example.table.batch_name,
            "schema": schema,
        }
        worker = f"{example.table.name}_worker"
        await self._owner.execute(f"""
DO $$ BEGIN
  IF to_regrole('{OWNER}') IS NULL THEN CREATE ROLE {OWNER} NOLOGIN; END IF;
  IF to_regrole('{worker}') IS NULL THEN CREATE ROLE {worker} LOGIN; END IF;
END $$;
GRANT USAGE, CREATE ON SCHEMA {schema} TO {OWNER};
SET ROLE {OWNER};
SET search_path = {schema};
{_RECORDS}""")
        await self._apply("keda-jobs", "tracking", names)
        ddl = example.ddl
        await self._owner.execute(ddl)
        await self._record(example.table.batch_name, 1, f"0001_{example.table.name}.sql", ddl)
        await self._apply(f"{example.table.name}_queue", "queue", names)
        await self._owner.execute(f"""
GRANT SELECT ON {example.table.name}, {example.table.name}_claimable TO {worker};
GRANT SELECT, INSERT, UPDATE, DELETE ON batch_jobs TO {worker};
RESET ROLE; RESET search_path""")

    async def _apply(self, scope: str, folder: str, names: dict[str, str]) -> None:
        for file in sorted(self._files.joinpath(folder).iterdir(), key=lambda file: file.name):
            number = int(file.name[:4])
            done = "SELECT EXISTS (SELECT FROM batch_migrations WHERE scope = $1 AND number = $2)"
            if number > min(self._number, _LAST) or await self._owner.fetchval(done, scope, number):
                continue
            sql = file.read_text(encoding="utf-8")
            for name, value in names.items():
                sql = sql.replace(f"{{{name}}}", value)
            await self._owner.execute(sql)
            await self._record(scope, number, file.name, sql)

    async def _record(self, scope: str, number: int, name: str, sql: str) -> None:
        await self._owner.execute(
            "INSERT INTO batch_migrations (scope, number, name, sha256) VALUES ($1, $2, $3, $4)",
            scope,
            number,
            name,
            hashlib.sha256(sql.encode()).hexdigest(),
        )


@pytest.fixture
async def owner(postgres_server: PostgresServer, database: str) -> AsyncIterator[Owner]:
    """Connect to an empty database as its owner."""
    connection = await asyncpg.connect(postgres_server.dsn_of(database))
    yield connection
    await connection.close()


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_queue_of_an_earlier_version_moves_with_its_rows_and_ranges(
    postgres_server: PostgresServer, database: str, owner: Owner, tmp_path: Path, number: int
) -> None:
    await EarlierVersion(owner, number).install(USERS, "public")
    await EarlierVersion(owner, number).install(INVOICES, "public")
    for keys in (range(1, 6), range(6, 21)):
        await owner.execute(USERS.insert, list(keys))
    await owner.execute("UPDATE users SET next_attempt_at = '2020-01-01' WHERE id > 15")
    await owner.execute(_WORK)
    applied = await schema.apply(owner, USERS.table, write_migrations(USERS, tmp_path / "migrations"))
    earlier = [f"{name}_queue/{file}" for name in ("invoices", "users") for file in _files_after(number)]
    assert applied == [*earlier, *tracking_names(), *new_queue_migrations(INVOICES), *new_queue_migrations(USERS)]
    queue = QueueHarness(postgres_server, database, USERS, owner)
    worker = await queue.worker()
    assert await worker.recover() == 5
    await owner.execute("UPDATE users SET next_attempt_at = '2021-01-01' WHERE id > 18")
    assert await queue.claimable() == await queue.recount() == 20
    assert await queue.drain(worker) == 20
    await owner.execute(INVOICES.insert, [1, 2])
    assert await owner.fetchval(f"SELECT rows FROM {INVOICES.table.claimable}") == 2
    await queue.disconnect()


def _files_after(number: int) -> list[str]:
    folder = resources.files("keda_jobs.claims").joinpath("migrations", "queue")
    return sorted(file.name for file in folder.iterdir() if number < int(file.name[:4]) <= _LAST)
