"""A source that is unavailable or hangs does not affect the other, and no scrape waits for it beyond the limit."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import asyncpg
import pytest

from exporter.metrics import Sample, SampleCollector
from exporter.scrape import Scraper
from keda_jobs.claims import roles
from stack import JobProcess, NatsServer, PostgresServer, until
from stack.servers import http_status

from .conftest import Start
from .scraping import scrape

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Declare = Callable[[], Awaitable[None]]

NATS = 'scrape_ok{source="nats"}'
POSTGRES = 'scrape_ok{source="postgres"}'


async def test_without_a_database_no_queue_is_reported(declare: Declare, start: Start) -> None:
    await declare()
    numbers = await scrape(start())
    assert POSTGRES not in numbers.shared
    assert numbers.shared[NATS] == 1


async def test_it_is_ready_without_nats_and_reads_it_once_available(
    declare: Declare, start: Start, nats_server: NatsServer, owner: object, exporter_dsn: str
) -> None:
    await declare()
    nats_server.kill()
    exporter = start(PG_DSN=exporter_dsn)
    numbers = await scrape(exporter)
    assert numbers.shared == {NATS: 0, POSTGRES: 1}
    assert list(numbers.jobs) == ["parcels-batch"]
    await asyncio.to_thread(nats_server.start)
    await until(lambda: reads_nats(exporter))

    nats_server.kill()
    assert (await scrape(exporter)).shared == {NATS: 0, POSTGRES: 1}
    await asyncio.to_thread(nats_server.start)
    await until(lambda: reads_nats(exporter))


async def test_it_keeps_running_without_postgresql_and_reads_it_once_available(
    declare: Declare, start: Start, own_postgres_server: PostgresServer
) -> None:
    await declare()
    exporter = start(PG_DSN=own_postgres_server.dsn)
    own_postgres_server.kill()
    numbers = await scrape(exporter)
    assert (numbers.shared[NATS], numbers.shared[POSTGRES]) == (1, 0)
    await asyncio.to_thread(own_postgres_server.start)
    assert (await scrape(exporter)).shared[POSTGRES] == 1


async def test_a_hanging_nats_server_times_out(
    declare: Declare, start: Start, nats_server: NatsServer, owner: object, exporter_dsn: str
) -> None:
    await declare()
    exporter = start(PG_DSN=exporter_dsn)
    await until(lambda: reads_nats(exporter))
    nats_server.signal(signal.SIGSTOP)
    assert (await scrape(exporter)).shared == {NATS: 0, POSTGRES: 1}
    nats_server.signal(signal.SIGCONT)
    await until(lambda: reads_nats(exporter))


async def test_a_hanging_postgresql_times_out(
    declare: Declare, start: Start, own_postgres_server: PostgresServer
) -> None:
    await declare()
    exporter = start(PG_DSN=own_postgres_server.dsn)
    assert (await scrape(exporter)).shared[POSTGRES] == 1
    own_postgres_server.signal(signal.SIGSTOP)
    numbers = await scrape(exporter)
    assert (numbers.shared[NATS], numbers.shared[POSTGRES]) == (1, 0)
    own_postgres_server.signal(signal.SIGCONT)
    assert (await scrape(exporter)).shared[POSTGRES] == 1


async def test_a_hanging_query_times_out_and_leaves_no_connection(
    declare: Declare, start: Start, owner: Owner, exporter_dsn: str
) -> None:
    await declare()
    exporter = start(PG_DSN=exporter_dsn)
    await owner.execute("BEGIN; LOCK TABLE keda_jobs.batch_jobs")
    assert (await scrape(exporter)).shared[POSTGRES] == 0
    await owner.execute("ROLLBACK")
    assert (await scrape(exporter)).shared[POSTGRES] == 1

    async def has_disconnected() -> bool:
        connections = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND datname = current_database()"
        return bool(await owner.fetchval(connections, roles.EXPORTER) == 0)

    await until(has_disconnected)


async def test_concurrent_scrapes_share_a_reading_that_a_cancelled_scrape_does_not_cancel() -> None:
    readings = 0
    gate = asyncio.Event()

    async def source() -> list[Sample]:
        nonlocal readings
        readings += 1
        await gate.wait()
        return [Sample("keda_jobs_stream_messages", readings, ("events",))]

    collector = SampleCollector()
    scraper = Scraper({"nats": source}, collector)
    first, second = (asyncio.create_task(scraper.refresh()) for _ in range(2))
    await until(lambda: readings)
    first.cancel()
    gate.set()
    await second
    assert readings == 1
    assert collector.registry.get_sample_value("keda_jobs_stream_messages", {"stream": "events"}) == 1
    await scraper.refresh()
    assert readings == 2


@pytest.mark.parametrize("wrong", [{"PG_DSN": "mysql://host"}, {"NATS_MONITORING_URL": "nats:8222"}])
async def test_a_wrong_setting_stops_it_with_one_line(start: Start, wrong: dict[str, str]) -> None:
    with pytest.raises(Exception, match=next(iter(wrong))):
        await asyncio.to_thread(lambda: start(**wrong))


async def test_sigterm_stops_it(declare: Declare, start: Start) -> None:
    await declare()
    exporter = start()
    assert http_status(f"{exporter.http_url}/healthz") == 200
    assert await asyncio.to_thread(exporter.stop) == 0


async def reads_nats(exporter: JobProcess) -> bool:
    return (await scrape(exporter)).shared[NATS] == 1
