"""Servers, jobs and the exporter on this machine, watched by a Prometheus whose rules run sixty times faster."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self, TypeVar

import asyncpg
import nats
from nats.aio.client import Client
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from keda_jobs.claims.check import QueueCheck
from keda_jobs.domain.subjects import RETRY_STREAM
from keda_jobs.event.job import EventJob
from keda_jobs.postgres import Connection
from stack import BatchWorker, JobProcess, NatsServer, PostgresServer, S3Server, free_port, job_names, wait_until
from stack.ports import HOST
from stack.schema import apply_schemas
from stack.streams import apply_streams
from users_batch.job import JOB as USERS_BATCH

from .prometheus import Prometheus

T = TypeVar("T")

FASTER = 60
STORAGE_BYTES = 16 * 2**20
_FILLER = "retry.wait.filler"  # in the retries stream, where it stays
_PIECE = b"x" * 200_000
_USERS = "INSERT INTO users (name, email) SELECT 'A B', n || '@example.com' FROM generate_series(1, $1::int) AS n"


class KedaPage(Collector):
    """Stand-in for KEDA's error counter. While `fails` is set, each scrape counts one more error."""

    def __init__(self) -> None:
        self.fails = False
        self._errors = 0

    def collect(self) -> Iterator[CounterMetricFamily]:
        self._errors += self.fails
        labels = {"namespace": "keda-jobs-prod", "scaledObject": "image-download"}
        family = CounterMetricFamily("keda_scaled_object_errors", "As KEDA 2.21 has it", labels=list(labels))
        family.add_metric(list(labels.values()), self._errors)
        yield family


class Platform:
    """Platform that runs inside a `with` block."""

    def __init__(self, folder: Path) -> None:
        small = f'jetstream {{ store_dir: "{folder}/nats", sync_interval: always, max_file_store: {STORAGE_BYTES} }}'
        self.nats = NatsServer(folder, extra=small)
        self.s3 = S3Server(folder)
        self.postgres = PostgresServer(folder)
        self._silent_port = free_port()
        self.silent_url = f"http://{HOST}:{self._silent_port}"
        self.keda = KedaPage()
        self.prometheus = Prometheus(folder / "prometheus", FASTER)
        self._folder = folder
        servers = self.nats.environment() | self.s3.environment() | self.postgres.environment()
        patient = {"DOWNLOAD_TIMEOUT_S": "300", "HANDLER_TIMEOUT_S": "300"}
        settings = {"CONCURRENCY": "2", "DOWNLOAD_ALLOW_ADDRESSES": self.silent_url.removeprefix("http://"), **patient}
        self._environment = {**servers, **settings, "NATS_MONITORING_URL": self.nats.monitor_url}
        self.jobs = {job: self._job(job) for job in job_names(EventJob)}
        self.exporter = self._job("exporter")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for server in (self.nats, self.s3, self.postgres):
                started.callback(server.kill)
                server.start()
            asyncio.run(apply_streams(self.nats.url))
            asyncio.run(apply_schemas(self.postgres.dsn))
            for process in (*self.jobs.values(), self.exporter):
                started.callback(process.kill)
                process.start()
            started.callback(self.prometheus.kill)
            self.prometheus.start()
            self._keda_url = self._serve_keda(started)
            self.scrape()
            wait_until(lambda: self.prometheus.query("job:keda_jobs_consumer_lag:max"))
            self._stack = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def scrape(self) -> None:
        """Let Prometheus scrape the running jobs. A stopped pod is no longer a target."""
        running = {job: process.http_url for job, process in self.jobs.items() if process.alive}
        self.prometheus.scrape({**running, "exporter": self.exporter.http_url, "keda-operator": self._keda_url})

    def stop_job(self, job: str) -> None:
        """Stop a job, as KEDA does when it scales to zero."""
        self.jobs[job].stop()
        self.scrape()

    def start_job(self, job: str) -> None:
        """Start a pod of a job, which becomes a target."""
        self.jobs[job].start()
        self.scrape()

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Run a server at `silent_url` that accepts connections, answers nothing, and closes them at the end."""
        with socket.create_server((HOST, self._silent_port)):
            yield

    def worker(self) -> BatchWorker:
        """Build a worker that claims all rows at once."""
        settings = {**self._environment, "CLAIM_SIZE": "1000000", "LEASE_S": "2", "SHUTDOWN_GRACE_S": "1"}
        return BatchWorker("users-batch", settings, self._folder / "worker.log", "worker")

    def work_off(self) -> None:
        """Run a worker until all rows are done, as KEDA would."""
        worker = self.worker()
        worker.start()
        worker.wait()

    def publish(self, subject: str, *bodies: bytes) -> None:
        """Publish messages, with a confirmation for each."""

        async def run(client: Client) -> None:
            for body in bodies:
                await client.jetstream().publish(subject, body)

        self.with_nats(run)

    def fill(self, part: float) -> None:
        """Fill this part of the storage with messages that no job reads. With 1, fill it until NATS refuses more."""

        async def run(client: Client) -> None:
            jetstream = client.jetstream()
            while (await jetstream.stream_info(RETRY_STREAM)).state.bytes < part * STORAGE_BYTES:
                try:
                    await jetstream.publish(_FILLER, _PIECE)
                except nats.js.errors.ServiceUnavailableError:
                    return

        self.with_nats(run)

    def empty(self) -> None:
        """Remove the messages of `fill`."""

        async def run(client: Client) -> None:
            await client.jetstream().purge_stream(RETRY_STREAM, subject=_FILLER)

        self.with_nats(run)

    def with_nats(self, action: Callable[[Client], Awaitable[T]]) -> T:
        """Run `action` with a connection to NATS."""

        async def run() -> T:
            client = await nats.connect(self.nats.url)
            try:
                return await action(client)
            finally:
                await client.close()

        return asyncio.run(run())

    def insert_users(self, rows: int) -> None:
        """Insert rows for users-batch."""
        self._with_postgres(lambda connection: connection.execute(_USERS, rows))

    def lose_ranges(self) -> None:
        """Delete the queue of users-batch, and none of its rows."""
        self._with_postgres(lambda connection: connection.execute("DELETE FROM keda_jobs.users_queue"))

    def set_rows_aside(self) -> None:
        """Set the rows of users-batch aside, as after the last refused attempt."""
        aside = "UPDATE keda_jobs.users_queue SET error = 'refused', held_back_until = 'infinity'"
        self._with_postgres(lambda connection: connection.execute(aside))

    def try_rows_again(self) -> None:
        """Let workers try rows again that were set aside."""
        again = "UPDATE keda_jobs.users_queue SET error = NULL, held_back_until = NULL"
        self._with_postgres(lambda connection: connection.execute(again))

    def age_checks(self) -> None:
        """Have a check on each of three days, the last of them nine days ago."""
        older = """
DELETE FROM keda_jobs.users_queue_checks;
INSERT INTO keda_jobs.users_queue_checks (checked_at, stranded_rows)
SELECT now() - days * interval '1 day', 0 FROM generate_series(9, 11) AS days"""
        self._with_postgres(lambda connection: connection.execute(older))

    def check_queue(self, *, repair: bool) -> None:
        """Compare the rows of users-batch with its queue."""

        async def check(connection: Connection) -> None:
            async for _ in QueueCheck(connection, USERS_BATCH.table, repair=repair).run(asyncio.Event()):
                pass

        self._with_postgres(check)

    def _with_postgres(self, work: Callable[[Connection], Awaitable[object]]) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self.postgres.dsn)
            await work(connection)
            await connection.close()

        asyncio.run(run())

    def _job(self, job: str) -> JobProcess:
        return JobProcess(job, self._environment, self._folder / f"{job}.log")

    def _serve_keda(self, started: ExitStack) -> str:
        registry = CollectorRegistry()
        registry.register(self.keda)
        server, thread = start_http_server(0, HOST, registry)
        started.callback(thread.join)
        started.callback(server.server_close)
        started.callback(server.shutdown)
        return f"http://{HOST}:{server.server_port}"
