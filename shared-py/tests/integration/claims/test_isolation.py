"""Databases with other defaults than PostgreSQL has, above all the isolation level."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import asyncpg
import pytest
from asyncpg import exceptions as pg

from keda_jobs.claims import ClaimQueue, schema
from keda_jobs.claims.failed_rows import FailedRows, RowFilter
from stack import PostgresServer

from . import test_stories
from .conftest import write_migrations
from .example_tables import INVOICES
from .harness import Owner, QueueHarness, failures

_ROWS = 600


# What else a database may have as the default of its sessions, and what no statement may depend on.
_ODD = {
    "standard_conforming_strings": "off", "DateStyle": "SQL, DMY", "TimeZone": "Asia/Kathmandu", "array_nulls": "off",
    "transform_null_equals": "on", "bytea_output": "escape", "extra_float_digits": "-15", "row_security": "off",
    "plan_cache_mode": "force_generic_plan", "enable_indexscan": "off", "enable_hashjoin": "off", "jit_above_cost": "0",
    "cursor_tuple_fraction": "1", "client_min_messages": "error", "session_replication_role": "replica",
    "default_transaction_isolation": "serializable", "default_transaction_deferrable": "on",
}  # fmt: skip
_DEFAULTS = {
    "repeatable read": {"default_transaction_isolation": "repeatable read"},
    "serializable": {"default_transaction_isolation": "serializable"},
    "odd settings": _ODD,
}


@pytest.fixture(params=_DEFAULTS)
async def strict_users(request: pytest.FixtureRequest, own_users: QueueHarness) -> QueueHarness:
    """Return a queue in a database whose sessions have other defaults."""
    database = await own_users.owner.fetchval("SELECT current_database()")
    for name, value in _DEFAULTS[request.param].items():
        await own_users.owner.execute(f"ALTER DATABASE {database} SET {name} = '{value}'")
    return own_users


class RepeatingStory(test_stories.ConcurrentStory):
    """Story of applications that repeat a transaction when PostgreSQL asks for it."""

    async def step(self) -> str:
        """Take one step. After a serialization failure take another."""
        while True:
            try:
                return await super().step()
            except pg.SerializationError:
                await self._queue.owner.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
                )
                self._session = None


@pytest.mark.parametrize("seed", range(2))
async def test_no_story_leaves_a_row_behind_in_a_strict_level(strict_users: QueueHarness, seed: int) -> None:
    await test_stories.test_no_story_leaves_a_row_behind(strict_users, RepeatingStory, seed, fresh_sessions=False)


async def work(queue: QueueHarness, worker: ClaimQueue) -> None:
    while await worker.claimable():
        if batch := await worker.claim(10):
            await worker.renew(batch)
            fails = [row.key for row in batch.rows if row.attempts == 0 and row.key % 10 == 0]
            completed = queue.results(row for row in batch.rows if row.key not in fails)
            await worker.settle(batch, completed[1:] if len(completed) > 5 else completed, failures(batch, 0.0, fails))
            await worker.close(batch)


async def put_off_and_back(application: Owner, keys: list[int]) -> None:
    """Change rows in two statements of a transaction, and repeat it when PostgreSQL asks for it."""
    change = "UPDATE users SET next_attempt_at = next_attempt_at + interval '{}' WHERE id = ANY($1)"
    while True:
        try:
            async with application.transaction():
                await application.execute(change.format("1 year"), keys)
                await application.execute(change.format("-1 year"), keys)
            return
        except pg.SerializationError:
            continue


async def test_workers_do_not_fail_because_of_each_other_or_of_applications(strict_users: QueueHarness) -> None:
    users = strict_users
    await users.insert(range(1, _ROWS + 1))
    workers = [await users.worker(f"pod-{number}") for number in range(3)]
    application = await users.connect()
    chosen = random.Random(1)

    async def change() -> None:
        for _ in range(20):
            await put_off_and_back(application, chosen.sample(range(1, _ROWS + 1), 5))

    await asyncio.gather(change(), *(work(users, worker) for worker in workers))
    await work(users, workers[0])
    assert await users.statuses() == {"completed": _ROWS}
    assert await users.claimable() == await users.recount() == 0
    assert all(batch.adds_up for batch in await users.batches())


async def test_failed_rows_are_set_back_while_workers_claim(strict_users: QueueHarness) -> None:
    users = strict_users
    await users.insert(range(1, 201))
    worker = await users.worker()
    batch = await worker.claim(100)
    assert batch is not None
    await worker.settle(batch, (), failures(batch, None))
    person = FailedRows(await users.connect(), users.table)

    async def retry() -> None:
        while rows := await person.find(RowFilter(), 10):
            await person.reset(rows)

    await asyncio.gather(retry(), work(users, worker), work(users, await users.worker("pod-2")))
    await work(users, worker)
    assert await users.claimable() == await users.recount() == 0
    assert not await users.keys("batch_status = 'processing'")


async def test_a_schema_is_applied_by_two_at_once(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    dsn = postgres_server.dsn_of(database)
    folder = write_migrations(INVOICES, tmp_path / "migrations")
    connections = [
        await asyncpg.connect(dsn, server_settings={"default_transaction_isolation": "serializable"}) for _ in range(2)
    ]
    applied = await asyncio.gather(*(schema.apply(each, INVOICES.table, folder) for each in connections))
    assert sorted(map(bool, applied)) == [False, True]
    for connection in connections:
        await connection.close()
