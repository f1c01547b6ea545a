"""Everything works through a pooler in transaction mode, because nothing depends on a session."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import SecretStr

from keda_jobs.claims import ClaimQueue, schema
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import open_connection, open_pool
from keda_jobs.settings import PgSettings
from stack import PostgresServer

from .conftest import new_queue_migrations, tracking_names, write_migrations
from .example_tables import INVOICES
from .harness import failures
from .pooler import Pooler


async def test_schema_and_workers_work_through_a_pooler(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    pooler = Pooler("127.0.0.1", postgres_server.port)
    async with pooler.running():
        url = postgres_server.dsn_of(database).replace(f":{postgres_server.port}/", f":{pooler.port}/")
        settings = PgSettings(pg_dsn=SecretStr(url))
        async with open_connection(settings, name="one") as one, open_connection(settings, name="two") as two:
            folder = write_migrations(INVOICES, tmp_path / "migrations")
            applied = await asyncio.gather(*(schema.apply(who, INVOICES.table, folder) for who in (one, two)))
            assert sorted(map(len, applied)) == [0, len(tracking_names()) + 1 + len(new_queue_migrations(INVOICES))]
            async with one.transaction():
                await one.execute(INVOICES.insert, list(range(1, 401)))

            async def work(pod: str) -> None:
                async with open_pool(settings, name=pod, connections=3, call_s=30) as connections:
                    queue = await ClaimQueue.bind(
                        connections, INVOICES.table, pod_name=pod, lease_s=60, call_s=30, policy=RetryPolicy(3, 60)
                    )
                    while await queue.claimable():
                        batch = await queue.claim(30)
                        if batch is None:
                            continue
                        halves = batch.rows[:10], batch.rows[10:20]
                        await asyncio.gather(
                            *(queue.settle(batch, [INVOICES.completed(row) for row in half], []) for half in halves),
                            queue.renew(batch),
                        )
                        await queue.settle(batch, [], failures(batch, None, [row.key for row in batch.rows[20:]]))
                        await queue.close(batch)
                        await queue.recover()

            await asyncio.gather(*(work(f"pod-{number}") for number in range(3)))
            async with one.transaction():
                counts = await one.fetch("SELECT batch_status, count(*) FROM invoices GROUP BY 1")
            assert sum(count for _, count in counts) == 400
            assert {status for status, _ in counts} == {"completed", "failed"}
            for _ in range(12):
                async with one.transaction():
                    left = await one.fetchrow(
                        "SELECT current_setting('enable_seqscan'), current_setting('keda_jobs.claims', true),"
                        " current_user = session_user, (SELECT count(*) FROM pg_prepared_statements WHERE name <> '')"
                    )
                assert left is not None
                assert (left[0], left[1] or None, left[2], left[3]) == ("on", None, True, 0)
    assert pooler.changes > 100
