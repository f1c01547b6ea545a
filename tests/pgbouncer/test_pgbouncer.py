"""Everything that talks to PostgreSQL does so through PgBouncer in transaction mode, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest

from exporter.queues import read_queues
from keda_jobs.settings import PgSettings
from stack import JobProcess, PostgresServer, until

from .pgbouncer import PgBouncer

_ROWS = 30_000
_INSERT = """
INSERT INTO users (name, email) SELECT 'Ada Lovelace', 'ada.' || n || '@example.org' FROM generate_series(1, 20) AS n"""

# What a client sets for its session stays on the server's connection, for the next client.
_LEFT_BEHIND = """
SELECT current_user <> session_user, current_setting('lock_timeout'), current_setting('enable_seqscan'),
  coalesce(current_setting('keda_jobs.claims', true), ''),
  (SELECT count(*) FROM pg_prepared_statements WHERE name <> ''),
  (SELECT count(*) FROM pg_cursors WHERE name <> ''),
  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"""


@pytest.fixture
def pgbouncer(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[PgBouncer]:
    """Start PgBouncer in front of the shared server."""
    pgbouncer = PgBouncer(postgres_server, tmp_path / "pgbouncer")
    pgbouncer.start()
    yield pgbouncer
    pgbouncer.stop()


async def run(environment: Mapping[str, str], name: str, *arguments: str) -> str:
    """Run a command of this project, and return its output."""
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **environment}, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{arguments} exited with {process.returncode}"
    return output.decode()


async def test_everything_works_through_pgbouncer(
    pgbouncer: PgBouncer, postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    direct = await asyncpg.connect(postgres_server.dsn_of(database))
    await direct.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")
    owner = {"PG_DSN": pgbouncer.dsn(database)}
    await run(owner, "users-batch-seed", "schema")
    await run(owner, "users-batch-seed", "all", f"--rows={_ROWS}", f"--out={tmp_path / 'data'}", "--json")

    settings = {"PG_DSN": pgbouncer.dsn(database, "users_worker"), "CLAIM_SIZE": "1000", "MAX_ATTEMPTS": "1"}
    workers = [
        JobProcess("users-batch", {**settings, "POD_NAME": f"pod-{number}"}, tmp_path / f"pod-{number}.log")
        for number in range(2)
    ]
    for worker in workers:
        await asyncio.to_thread(worker.launch)
    rows = _ROWS
    exporter = PgSettings.model_validate({"pg_dsn": pgbouncer.dsn(database, "keda_jobs_exporter")})
    await until(lambda: direct.fetchval("SELECT EXISTS (SELECT FROM batch_jobs)"))
    await asyncio.to_thread(pgbouncer.restart)
    while any(worker.alive for worker in workers):
        await direct.execute(_INSERT)
        rows += 20
        scaler = await asyncpg.connect(pgbouncer.dsn(database, "users_scaler"), statement_cache_size=0)
        assert await scaler.fetchval("SELECT rows FROM keda_jobs.users_claimable") >= 0
        await scaler.close()
        [snapshot] = await read_queues(exporter)
        assert snapshot.job == "users-batch"
        await run(owner, "keda-jobs", "batch", "status", "--json")
        await run(owner, "keda-jobs", "batch", "check")
    assert [worker.exit_code for worker in workers] == [0, 0]

    failed = json.loads(await run(owner, "keda-jobs", "batch", "failures", "--json"))
    assert failed
    await run(owner, "keda-jobs", "batch", "retry", "--all", "--yes")
    await run(owner, "keda-jobs", "batch", "check", "--repair")
    [(finished, waiting)] = await direct.fetch(
        "SELECT count(*) FILTER (WHERE batch_status = 'completed'), count(*) FILTER (WHERE batch_status <> 'completed')"
        " FROM users"
    )
    assert finished + waiting == rows
    assert await direct.fetchval("SELECT rows FROM keda_jobs.users_claimable") == waiting > 0
    await _check_nothing_is_left_behind(pgbouncer, database)
    await direct.close()


async def _check_nothing_is_left_behind(pgbouncer: PgBouncer, database: str) -> None:
    for role in ("keda_jobs", "users_worker"):
        clients = [await asyncpg.connect(pgbouncer.dsn(database, role), statement_cache_size=0) for _ in range(3)]
        for client in clients:
            # In a transaction until all are, so each sees another connection of the server.
            await client.execute("BEGIN")
            assert tuple(await client.fetchrow(_LEFT_BEHIND) or ()) == (False, "0", "on", "", 0, 0, 0)
        for client in clients:
            await client.execute("ROLLBACK")
            await client.close()
