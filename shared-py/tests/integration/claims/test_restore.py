"""A dump that is taken while everybody works is a queue again, once it is restored."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.claims import LeaseLost, schema
from keda_jobs.claims.check import CheckResult, QueueCheck
from stack import PostgresServer, until
from stack.postgres_programs import program

from .conftest import write_migrations
from .example_tables import USERS
from .harness import QueueHarness, failures

_ROWS = 2000
_AS_IT_WAS = "id, name, attempts", "batch_status = 'completed'"


async def run(name: str, *arguments: str) -> int | None:
    process = await asyncio.create_subprocess_exec(str(program(name)), *arguments)
    return await process.wait()


async def work(queue: QueueHarness, pod: str, is_over: asyncio.Event) -> None:
    """Complete, fail and give back rows until the dump is over. The last batches stay open."""
    worker = await queue.worker(pod)
    while not is_over.is_set():
        if batch := await worker.claim(15):
            with suppress(LeaseLost):
                await worker.settle(batch, queue.results(batch.rows[3:9]), ())
                await worker.settle(batch, (), failures(batch, 600, [batch.rows[0].key]))
                await worker.settle(batch, (), failures(batch, None, [batch.rows[-1].key]))
                if batch.batch_id % 3:
                    await worker.close(batch)


async def change(queue: QueueHarness, is_over: asyncio.Event) -> None:
    """Insert, put off and delete rows until the dump is over."""
    application = await queue.connect()
    first = _ROWS
    while not is_over.is_set():
        await application.execute(queue.example.insert, list(range(first + 1, first + 30, 2)))
        await application.execute("UPDATE users SET next_attempt_at = now() + interval '1 h' WHERE id = $1", first)
        await application.execute("DELETE FROM users WHERE id % 100 = $1", first % 100)
        first += 30


async def dump_during_work(users: QueueHarness, file: Path) -> None:
    await users.insert(range(1, _ROWS + 1))
    is_over = asyncio.Event()

    async def dump() -> None:
        await until(lambda: users.keys("batch_status = 'completed' AND id > 100"))
        assert await run("pg_dump", "-Fc", f"--file={file}", users.dsn()) == 0
        is_over.set()

    await asyncio.gather(
        dump(), change(users, is_over), *(work(users, f"pod-{number}", is_over) for number in range(2))
    )


@pytest.mark.parametrize("options", [("--exit-on-error",), ("--data-only", "--disable-triggers")], ids=" ".join)
async def test_a_dump_taken_during_a_run_is_worked_off(
    own_users: QueueHarness, postgres_server: PostgresServer, database: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    await dump_during_work(own_users, tmp_path / "dump")
    folder = write_migrations(USERS, tmp_path / "migrations")
    owner = await asyncpg.connect(postgres_server.dsn_of(database))
    restored = QueueHarness(postgres_server, database, USERS, owner)
    if "--data-only" in options:
        await schema.apply(owner, USERS.table, folder)
        # The schema has made its records already.
        await owner.execute("TRUNCATE keda_jobs.batch_queues, keda_jobs.batch_migrations CASCADE")
    assert await run("pg_restore", *options, f"--dbname={restored.dsn()}", str(tmp_path / "dump")) == 0
    assert await schema.apply(owner, USERS.table, folder) == []

    rows, completed = await restored.keys(), await restored.rows(*_AS_IT_WAS)
    assert 0 < len(completed) < len(rows)
    assert await restored.keys("batch_status = 'processing'")
    async for result in QueueCheck(owner, USERS.table, repair=False).run(asyncio.Event()):
        check: CheckResult = result
    assert (check.rows, check.stranded_rows) == (len(rows), 0)

    await restored.expire_leases()
    await owner.execute(
        "UPDATE users SET next_attempt_at = now() WHERE batch_status <> 'processing' AND error IS NOT NULL"
    )
    worker = await restored.worker("pod-after")
    while await worker.recover() is not None:
        pass
    await restored.drain(worker)
    await owner.execute("UPDATE users SET next_attempt_at = now() WHERE batch_status = 'pending'")
    await restored.drain(worker)
    assert await restored.statuses() == {"completed": len(rows)}
    assert set(completed) <= set(await restored.rows(*_AS_IT_WAS))
    assert await restored.claimable() == await restored.recount() == 0
    await restored.close()
