"""System under test: servers, a proxy in front of each, and workers that are started again when they end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import asyncpg

from faults.batch.fleet import Fleet, Worker
from faults.batch.queue_view import QueueView
from faults.stream_view import StreamView
from keda_jobs.claims import ClaimTable
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from keda_jobs.status.stream import read_waiting_retries
from stack import JobProcess, NatsServer, PostgresServer, Process, S3Server, until
from stack.jobs import ROOT
from stack.ports import HOST
from stack.postgres import DATABASE
from stack.streams import declaration_for

from .plan import ACK_WAIT_S, LEASE_S, NATS, POSTGRES, STORE, WORKERS
from .proxy import Proxy
from .small_disk import SmallDisk

EVENT_JOBS = {"order-intake": "order-placed", "order-entry": "order-stored"}
"""Job under test to the event that it reads. The first one feeds the second."""
ROWS_JOB = "order-rows"

DATABASE_AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

_JOBS = Path(__file__).with_name("jobs")
_PACKAGES = {"PYTHONPATH": f"{ROOT / 'tests'}:{_JOBS}"}
_ROWS_PER_WORKER = 100
_MOST_WORKERS = 2
_LOOK_S = 0.2


class System:
    """System in `folder`, with NATS on a small disk where one is given."""

    connection: NatsConnection
    stream: StreamView

    def __init__(self, folder: Path, disk: SmallDisk | None) -> None:
        self.folder = folder
        self.events_ledger, self.rows_ledger = folder / "events.ledger", folder / "rows.ledger"
        self.disk = disk
        self.nats = disk.server(folder) if disk else NatsServer(folder)
        self.store = S3Server(folder)
        self.postgres = PostgresServer(folder)
        self.queue = QueueView(self.postgres)
        # As KEDA has connections of its own.
        self._scaler = QueueView(self.postgres)
        self.proxies = {
            NATS: Proxy(self.nats.port),
            STORE: Proxy(self.store.port),
            POSTGRES: Proxy(self.postgres.port),
        }
        self.servers: dict[str, Process] = {NATS: self.nats, STORE: self.store, POSTGRES: self.postgres}
        self.workers = {name: self._worker(name) for name in WORKERS if name != ROWS_JOB}
        self.fleet = Fleet(self._scaler, ROWS_JOB, folder, self._rows_environment())
        self._watches: list[asyncio.Task[None]] = []
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as opened:
            opened.callback(self._kill_all)
            for process in [*([self.disk] if self.disk else []), *self.servers.values()]:
                await asyncio.to_thread(process.start)
            settings = NatsSettings.model_construct(nats_url=self.nats.url)
            self.connection = await opened.enter_async_context(connect(settings, name="campaign", wait=True))
            self.stream = StreamView(self.connection, self.nats)
            await apply(self.connection, declaration_for(EVENT_JOBS, ack_wait_s=ACK_WAIT_S))
            await self.queue.make(ClaimTable(ROWS_JOB, "users", reads=("name", "attempts")))
            await self._scaler.connect()
            opened.push_async_callback(self._disconnect)
            for proxy in self.proxies.values():
                await opened.enter_async_context(proxy)
            self._watches = [asyncio.create_task(watch) for watch in (self._restart_workers(), self._scale_rows())]
            opened.push_async_callback(self._stop_watches)
            # The first strike must meet them at work.
            await until(lambda: all(worker.alive and worker.answers() for worker in self.workers.values()))
            self._open = opened.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def is_worked_off(self) -> bool:
        """Return whether no job has an order, a retry or a row left. The job that feeds another is asked first.

        Raises what ended the starting of workers.
        """
        for watch in self._watches:
            if watch.done():
                watch.result()
        for job in EVENT_JOBS:
            if not await self.stream.is_worked_off(job):
                return False
        return await self.queue.is_done()

    async def batch_workers_at_work(self) -> list[Worker]:
        """Return the batch workers that run and hold rows, none while PostgreSQL is away."""
        with contextlib.suppress(*DATABASE_AWAY):
            holders = await self.queue.holders()
            return [worker for worker in self.fleet.alive if worker.pod in holders]
        return []

    async def what_is_left(self) -> str:
        """Say for each job what is left, in one line."""
        lags = [f"{job} {await self.stream.lag(job)}" for job in EVENT_JOBS]
        waiting = [f"{job} {(await read_waiting_retries(self.connection, job)).count}" for job in EVENT_JOBS]
        rows = "none" if await self.queue.is_done() else "some"
        return f"messages {', '.join(lags)}, waiting retries {', '.join(waiting)}, rows {rows}"

    async def restart_postgres(self, after_s: float) -> None:
        """Kill PostgreSQL and start it again."""
        await self._disconnect()
        await asyncio.to_thread(self.postgres.kill)
        await asyncio.sleep(after_s)
        await asyncio.to_thread(self.postgres.start)
        await self.queue.connect()
        await self._scaler.connect()

    async def _disconnect(self) -> None:
        await self.queue.disconnect()
        await self._scaler.disconnect()

    async def _restart_workers(self) -> None:
        """Start event workers that do not run, as a Deployment does."""
        while True:
            for worker in self.workers.values():
                if not worker.alive:
                    await asyncio.to_thread(worker.launch)
            await asyncio.sleep(_LOOK_S)

    async def _scale_rows(self) -> None:
        """Start batch workers while rows are claimable, as KEDA does. It starts none while PostgreSQL is away."""
        while True:
            with contextlib.suppress(*DATABASE_AWAY):
                await self.fleet.scale(_MOST_WORKERS, _ROWS_PER_WORKER)
            await asyncio.sleep(_LOOK_S)

    async def _stop_watches(self) -> None:
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    def _worker(self, name: str) -> JobProcess:
        environment = {
            **self.store.environment(),
            **_PACKAGES,
            "NATS_URL": f"nats://{HOST}:{self.proxies[NATS].port}",
            "R2_ENDPOINT_URL": f"http://{HOST}:{self.proxies[STORE].port}",
            "ACK_WAIT_S": str(ACK_WAIT_S),
            "RETRY_STEP_S": "1",
            # Kills count as deliveries too, and no good order may die of them.
            "RETRY_MAX_DELIVERIES": "1000",
            "LEDGER": str(self.events_ledger),
        }
        return JobProcess(name.rpartition("-")[0], environment, self.folder / f"{name}.log")

    def _rows_environment(self) -> Mapping[str, str]:
        dsn = self.postgres.dsn_of(DATABASE, "users_worker")
        return {
            **_PACKAGES,
            "PG_DSN": dsn.replace(f":{self.postgres.port}/", f":{self.proxies[POSTGRES].port}/"),
            "LEASE_S": str(LEASE_S),
            "CLAIM_SIZE": str(_ROWS_PER_WORKER),
            "RETRY_STEP_S": "1",
            "MAX_ATTEMPTS": "1000",
            "LEDGER": str(self.rows_ledger),
        }

    def _kill_all(self) -> None:
        for process in [*self.workers.values(), *self.fleet.workers, *self.servers.values()]:
            process.signal(signal.SIGKILL)
            process.kill()
        if self.disk:
            self.disk.kill()
