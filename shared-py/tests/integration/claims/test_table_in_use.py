"""Making a queue of a table that an application uses: nobody waits for it, and no row is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.claims import ClaimTable, schema
from keda_jobs.claims.check import WINDOW
from keda_jobs.claims.roles import OWNER
from keda_jobs.errors import DatabaseUnavailable, Misconfigured
from stack import PostgresServer, until

from .example_tables import USERS
from .harness import Owner, QueueHarness

_ROWS = WINDOW + 5001
_INSERT = "INSERT INTO users (name, email) VALUES ('Ada', 'ada@example.org')"


@pytest.fixture
async def application(postgres_server: PostgresServer, database: str) -> AsyncIterator[QueueHarness]:
    """Yield a database whose table has rows and no queue yet."""
    owner = await asyncpg.connect(postgres_server.dsn_of(database))
    await owner.execute(f"""
DO $$ BEGIN CREATE ROLE {OWNER} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
{USERS.ddl}; ALTER TABLE users OWNER TO {OWNER}""")
    queue = QueueHarness(postgres_server, database, USERS, owner)
    yield queue
    await queue.close()


async def apply(queue: QueueHarness, folder: Path) -> None:
    await schema.apply(await queue.connect(), USERS.table, folder)


async def is_building(owner: Owner) -> bool:
    phase = "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%')"
    return bool(await owner.fetchval(phase))


async def test_an_application_works_on_while_its_table_becomes_a_queue(
    application: QueueHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_LOCK_TIMEOUT_S", 0.1)
    monkeypatch.setattr(schema, "_ATTEMPTS", 10_000)
    owner = application.owner
    await application.insert(range(10, _ROWS + 10))
    file = await owner.fetchval("SELECT pg_relation_filenode('users')")
    writer, reader = await application.connect(), await application.connect()
    await writer.execute(f"BEGIN; {_INSERT}")
    # Only an index that is made concurrently waits for an old snapshot.
    await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    applying = asyncio.create_task(apply(application, tmp_path))
    await application.until_blocked()
    await owner.execute(_INSERT)
    await writer.execute("COMMIT")
    await until(lambda: is_building(owner))
    await owner.execute(f"{_INSERT}; UPDATE users SET name = 'Eve' WHERE id = 11; DELETE FROM users WHERE id = 12")
    await owner.execute("UPDATE users SET next_attempt_at = now() + interval '1 day' WHERE id BETWEEN 20 AND 29")
    assert not applying.done()
    await reader.execute("COMMIT")
    await applying
    assert await owner.fetchval("SELECT pg_relation_filenode('users')") == file, "rewritten"
    assert await application.claimable() == await application.recount() == _ROWS + 2 - 10
    assert max(claimable for _, _, claimable in await application.ranges()) <= WINDOW
    assert await application.drain(await application.worker()) == _ROWS + 2 - 10


async def test_an_interrupted_apply_is_finished_by_the_next(application: QueueHarness, tmp_path: Path) -> None:
    owner = application.owner
    await application.insert(range(10, 60))
    reader = await application.connect()
    await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    applying = asyncio.create_task(apply(application, tmp_path))
    await until(lambda: is_building(owner))
    assert await application.claimable() == 0
    await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index")
    with pytest.raises(DatabaseUnavailable):
        await applying
    await reader.execute("COMMIT")
    await schema.apply(owner, USERS.table, tmp_path)
    assert await owner.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'users_queue_failed'::regclass")
    assert await application.claimable() == await application.recount() == 50


async def test_a_table_that_others_lock_all_the_time_is_reported(
    application: QueueHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_LOCK_TIMEOUT_S", 0.01)
    monkeypatch.setattr(schema, "_ATTEMPTS", 2)
    writer = await application.connect()
    await writer.execute(f"BEGIN; {_INSERT}")
    with pytest.raises(DatabaseUnavailable, match=r"other transactions lock users for more than 0.01 s; end them"):
        await apply(application, tmp_path)


@pytest.mark.parametrize(
    ("ddl", "reason"),
    [
        ("TABLE lines (id uuid PRIMARY KEY)", "lines needs id as an integer primary key"),
        ("TABLE lines (id text PRIMARY KEY)", "lines needs id as an integer primary key"),
        ("TABLE lines (id numeric PRIMARY KEY)", "lines needs id as an integer primary key"),
        ("TABLE lines (id bigint, no bigint, PRIMARY KEY (id, no))", "lines needs id as an integer primary key"),
        ("TABLE lines (id bigint UNIQUE)", "lines needs id as an integer primary key"),
        ("TABLE lines (no bigint PRIMARY KEY)", "lines needs id as an integer primary key"),
        (
            "TABLE lines (id bigint PRIMARY KEY) PARTITION BY RANGE (id)",
            "lines is partitioned, a partition, or inherits",
        ),
        (
            "TABLE lines (id bigint PRIMARY KEY); CREATE TABLE b () INHERITS (lines)",
            "lines is partitioned, a partition",
        ),
        (
            "TABLE b (id int) PARTITION BY RANGE (id); CREATE TABLE lines PARTITION OF b (PRIMARY KEY (id)) DEFAULT",
            "lines is partitioned, a partition",
        ),
        ("VIEW lines AS SELECT 1 AS id", "lines is no ordinary table"),
        (
            "TABLE lines (id bigint PRIMARY KEY, error text, attempts int)",
            "lines has columns .*: attempts, error; rename",
        ),
        ("TABLE other (id bigint)", 'there is no table "public"."lines"; create it'),
    ],
)
async def test_a_table_that_cannot_be_a_queue_is_refused_in_one_line_and_left_as_it_is(
    application: QueueHarness, tmp_path: Path, ddl: str, reason: str
) -> None:
    await application.owner.execute(f"CREATE {ddl}")
    with pytest.raises(Misconfigured, match=reason) as refused:
        await schema.apply(application.owner, ClaimTable("odd-lines", "lines"), tmp_path)
    assert "\n" not in str(refused.value)
    assert not await application.owner.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'keda_jobs')")


@pytest.mark.parametrize("kind", ["smallint", "integer", "bigint"])
async def test_keys_reach_to_both_ends_of_their_type(application: QueueHarness, tmp_path: Path, kind: str) -> None:
    most = 2 ** ({"smallint": 16, "integer": 32, "bigint": 64}[kind] - 1)
    keys = [-most, -most + 1, -1, 0, most - 2, most - 1]
    await application.owner.execute(f"TRUNCATE users; ALTER TABLE users ALTER id DROP IDENTITY, ALTER id TYPE {kind}")
    await application.insert(keys[:3])
    await apply(application, tmp_path)
    await application.insert(keys[3:])
    worker = await application.worker()
    claimed = []
    while batch := await worker.claim(1):
        claimed += [row.key for row in batch.rows]
        await worker.close(batch)
        if len(claimed) == len(keys):
            break
    assert await application.claimable() == await application.recount() == len(keys)
    await application.owner.execute("UPDATE users SET next_attempt_at = next_attempt_at - interval '1 h'")
    assert await application.drain(worker) == len(keys)


# For a table whose key is of another kind, as docs/batch.md shows it.
_SURROGATE = """
ALTER TABLE parcels ADD COLUMN queue_no bigint GENERATED ALWAYS AS IDENTITY;
ALTER TABLE parcels ADD CONSTRAINT parcels_queue_no UNIQUE (queue_no)"""


@pytest.mark.parametrize(
    "key",
    [
        "id uuid PRIMARY KEY DEFAULT gen_random_uuid()",
        "a text DEFAULT random()::text, b date DEFAULT now(), PRIMARY KEY (a, b)",
    ],
)
async def test_a_uuid_or_composite_key_has_a_number_beside_it(
    application: QueueHarness, tmp_path: Path, key: str, postgres_server: PostgresServer, database: str
) -> None:
    owner = application.owner
    await owner.execute(f"CREATE TABLE parcels ({key}, weight int); INSERT INTO parcels (weight) VALUES (1), (2), (3)")
    await owner.execute(f"{_SURROGATE}; ALTER TABLE parcels OWNER TO {OWNER}")
    table = ClaimTable("parcels-batch", "parcels", "queue_no", reads=("weight",))
    await schema.apply(owner, table, tmp_path)
    await owner.execute("INSERT INTO parcels (weight) VALUES (4), (5)")
    queue = QueueHarness(postgres_server, database, replace(USERS, table=table, result=lambda key: ()), owner)
    assert await queue.drain(await queue.worker()) == 5
    assert await queue.statuses() == {"completed": 5}
    await queue.disconnect()
