"""Changes of `users` by the import and `reset`: locked down for a load, back in service, empty.

The import records its state in two tables that it creates and `reset` drops. They are no migration, so a database that
was never seeded has no trace of the tool. They belong to the owner. Workers and scaler have no rights on them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asyncpg import exceptions as pg

from keda_jobs.claims.check import QueueCheck
from keda_jobs.claims.roles import OWNER
from keda_jobs.errors import JobError, Misconfigured
from keda_jobs.postgres import Connection, open_connection, translate_errors
from keda_jobs.settings import PgSettings
from users_batch.job import JOB
from users_seed.data_set import ChunkFile, DataSet

_NAME = "users-batch-seed"

# Any number will do. Imports and resets share it.
_TAKE_LOCK = "SELECT pg_advisory_xact_lock(5321477014)"

# The server takes a moment to notice that an interrupted run is gone, and other people's queries need time to end.
LOCK_TIMEOUT_S = 10

# The server would build an index to its end for a client that was killed.
_DETECT_DEATH = """
SELECT set_config(name, '2s', true) FROM pg_settings WHERE name = 'client_connection_check_interval'"""

# A chunk's row is written in the transaction that loads the chunk: it is in `users` if and only if it is here, and
# `loaded_at` is the `next_attempt_at` of its rows.
_CREATE_STATE = """
CREATE TABLE users_seed (data_set jsonb NOT NULL, finished_at timestamptz);
CREATE TABLE users_seed_chunks (
  number integer PRIMARY KEY,
  first_id bigint NOT NULL,
  rows integer NOT NULL,
  loaded_at timestamptz NOT NULL DEFAULT now()
)"""
_DROP_STATE = "DROP TABLE IF EXISTS users_seed, users_seed_chunks"
_RECORD_CHUNK = "INSERT INTO users_seed_chunks (number, first_id, rows) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"

# `fresh` rows are as the import loaded them.
_COUNT_ROWS = """
SELECT count(*) AS rows, count(*) FILTER (WHERE id <= $1 AND batch_status = 'pending' AND batch_id IS NULL) AS fresh
FROM users"""

# What a check with repair would do, without reading every row for it, which takes longer than the load.
_FILL_QUEUE = """
INSERT INTO keda_jobs.users_queue (lo, hi, claimable, next_attempt_at)
SELECT lo, hi, hi - lo + 1, loaded_at
FROM users_seed_chunks, generate_series(first_id, first_id + rows - 1, 20000) AS lo,
  least(lo + 19999, first_id + rows - 1) AS hi"""

# Without the key and the trigger a load takes half the time, and no row is claimable before all are.
_LOCK_DOWN = """
ALTER TABLE users DISABLE TRIGGER users_enqueue_inserted;
ALTER TABLE users DROP CONSTRAINT IF EXISTS users_pkey;
ALTER TABLE users SET (autovacuum_enabled = false)"""
_RESTORE = """
ALTER TABLE users ENABLE ALWAYS TRIGGER users_enqueue_inserted;
ALTER TABLE users RESET (autovacuum_enabled)"""
_HAS_KEY = "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'users'::regclass AND contype = 'p')"
_ADD_KEY = "ALTER TABLE users ADD CONSTRAINT users_pkey PRIMARY KEY (id)"
_FAST_INDEX = "SET LOCAL maintenance_work_mem = '512MB'; SET LOCAL max_parallel_maintenance_workers = 8"

_NEXT_ID = "SELECT setval(pg_get_serial_sequence('users', 'id'), $1)"

_RESET = "`users-batch-seed reset` empties it"

# In the order in which a claim takes them, so that the two do not wait for each other.
_LOCK_ALL = "LOCK TABLE keda_jobs.users_queue, keda_jobs.batch_jobs, users IN ACCESS EXCLUSIVE MODE"
_COUNT_RUNNING = """
SELECT count(*) FROM keda_jobs.batch_jobs
WHERE batch_name = $1 AND status = 'running' AND lease_expires_at > clock_timestamp()"""


@dataclass(frozen=True, slots=True)
class ImportState:
    """State of an import: the loaded chunks, and whether `users` is in service again."""

    is_begun: bool = False
    is_finished: bool = False
    chunks: frozenset[int] = frozenset()
    rows: int = 0


@asynccontextmanager
async def connect(settings: PgSettings) -> AsyncIterator[Connection]:
    """Yield a connection to a database with a queue of users. Raises `DatabaseUnavailable`, `Misconfigured`."""
    async with open_connection(settings, name=_NAME) as connection:
        with translate_errors():
            if not await connection.fetchval("SELECT to_regclass('keda_jobs.users_queue') IS NOT NULL"):
                raise Misconfigured("the database has no queue of users; run `users-batch-seed schema` first")
            yield connection


@asynccontextmanager
async def owner_transaction(connection: Connection) -> AsyncIterator[None]:
    """Run the block in a transaction as the owner of the tables.

    Role, settings and locks are local to a transaction, because there may be a pooler. Each statement sees what others
    have committed before it, whatever isolation level is the default.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"SET LOCAL ROLE {OWNER}; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
        await connection.execute(_DETECT_DEATH)
        yield


@asynccontextmanager
async def connect_exclusively(settings: PgSettings) -> AsyncIterator[Connection]:
    """Yield a connection while no other import or reset runs. Raises `JobError` when one does."""
    async with connect(settings) as connection, connect(settings) as guard, owner_transaction(guard):
        try:
            # Held by a transaction that waits for the end, without a snapshot that would keep vacuum from its work.
            await guard.execute(f"SET LOCAL idle_in_transaction_session_timeout = 0; {_TAKE_LOCK}")
        except pg.LockNotAvailableError as error:
            raise JobError("another import or reset is running in this database; wait for it") from error
        try:
            yield connection
        except pg.LockNotAvailableError as error:
            raise JobError(
                f"another transaction has held users for {LOCK_TIMEOUT_S} s; end it, then try again"
            ) from error


async def read_state(connection: Connection, data_set: DataSet) -> ImportState:
    """Return the state of the import of `data_set`. Raises `Misconfigured` when `users` holds anything else."""
    async with owner_transaction(connection):
        return await _read_state(connection, data_set)


async def _read_state(connection: Connection, data_set: DataSet) -> ImportState:
    has_rows = await connection.fetchval("SELECT EXISTS (SELECT FROM users)")
    if not await connection.fetchval("SELECT to_regclass('users_seed') IS NOT NULL"):
        if has_rows:
            raise Misconfigured(f"users holds rows that no import loaded; {_RESET}")
        return ImportState()
    [(text, is_finished)] = await connection.fetch("SELECT data_set, finished_at IS NOT NULL FROM users_seed")
    if json.loads(text) != data_set.as_json():
        raise Misconfigured(f"users holds another data set; {_RESET}")
    chunks = await connection.fetch("SELECT number, rows FROM users_seed_chunks")
    if chunks and not has_rows:
        raise Misconfigured(f"users was emptied after an import; {_RESET}")
    return ImportState(True, is_finished, frozenset(number for number, _ in chunks), sum(rows for _, rows in chunks))


async def begin(connection: Connection, data_set: DataSet) -> None:
    """Prepare `users` for the load of `data_set`, once. Raises `Misconfigured`."""
    async with owner_transaction(connection):
        await connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        if (await _read_state(connection, data_set)).is_begun:
            return
        await connection.execute(_CREATE_STATE)
        await connection.execute("INSERT INTO users_seed (data_set) VALUES ($1)", json.dumps(data_set.as_json()))
        await connection.execute(_LOCK_DOWN)
        # Left from deleted rows.
        await connection.execute("DELETE FROM keda_jobs.users_queue")
        # Rows that an application inserts meanwhile get ids beyond those of the data set.
        await connection.fetchval(_NEXT_ID, data_set.rows)


async def record_chunk(connection: Connection, file: ChunkFile) -> bool:
    """Record a chunk in the transaction that loads it. Return False when it is already loaded."""
    return await connection.execute(_RECORD_CHUNK, file.number, file.first_id, file.rows) == "INSERT 0 1"


async def finish(connection: Connection, data_set: DataSet) -> None:
    """Put `users` back in service with all rows claimable. Raises `JobError` when rows are missing or doubled."""
    async with owner_transaction(connection):
        await connection.execute(_RESTORE)
        await _add_key(connection)
        await connection.fetchval(_NEXT_ID, await connection.fetchval("SELECT max(id) FROM users"))
        [(rows, fresh)] = await connection.fetch(_COUNT_ROWS, data_set.rows)
        if fresh < data_set.rows:
            changed = data_set.rows - fresh
            raise JobError(f"{changed:,} rows of the data set were deleted or changed during the import; {_RESET}")
        await connection.execute(_FILL_QUEUE)
        if rows > fresh:
            async for _ in QueueCheck(connection, JOB.table, repair=True).run(asyncio.Event()):
                pass
        await connection.execute("ANALYZE users, keda_jobs.users_queue")
        await connection.execute("UPDATE users_seed SET finished_at = now()")


async def describe(settings: PgSettings) -> str:
    """Describe in a sentence what `reset` would empty."""
    async with connect_exclusively(settings) as connection, owner_transaction(connection):
        rows = await connection.fetchval("SELECT reltuples::bigint FROM pg_class WHERE oid = 'users'::regclass")
        database = await connection.fetchval("SELECT current_database()")
    size = f"about {rows:,} rows" if rows >= 0 else "an unknown number of rows"
    return f"The table users in the database {database} has {size}."


async def reset(settings: PgSettings) -> int:
    """Empty `users`, its queue and its batches, drop the import's state, and return the number of deleted batches.

    Raises `JobError` while workers have batches.
    """
    async with connect_exclusively(settings) as connection, owner_transaction(connection):
        await connection.execute(_LOCK_ALL)
        running = await connection.fetchval(_COUNT_RUNNING, JOB.name)
        if running:
            raise JobError(f"workers are processing {running} batches; stop them, then reset")
        await connection.execute("TRUNCATE users, keda_jobs.users_queue RESTART IDENTITY")
        await connection.execute(_RESTORE)
        await _add_key(connection)
        await connection.execute(_DROP_STATE)
        await connection.execute("DELETE FROM keda_jobs.old_batches WHERE batch_name = $1", JOB.name)
        status = await connection.execute("DELETE FROM keda_jobs.batch_jobs WHERE batch_name = $1", JOB.name)
        return int(status.removeprefix("DELETE "))


async def _add_key(connection: Connection) -> None:
    if await connection.fetchval(_HAS_KEY):
        return
    await connection.execute(_FAST_INDEX)
    try:
        await connection.execute(_ADD_KEY)
    except pg.UniqueViolationError as error:
        raise JobError(f"{error.detail}: it was inserted during the import, beside the file's; {_RESET}") from error
