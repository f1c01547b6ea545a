"""Servers, jobs and the exporter on this machine, watched by a Prometheus whose rules run sixty times faster."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self, TypeVar

import asyncpg
import nats
from nats.aio.client import Client
from PIL import Image
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from keda_jobs.claims.check import QueueCheck
from keda_jobs.domain.subjects import RETRY_STREAM, STREAM
from keda_jobs.event.job import EventJob
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.declaration import read_declaration, with_replicas
from keda_jobs.jetstream.streams import apply
from keda_jobs.postgres import Connection
from keda_jobs.settings import NatsSettings
from stack import (
    Authority,
    BatchWorker,
    JobProcess,
    NatsServer,
    PostgresServer,
    S3Server,
    free_port,
    job_names,
    wait_until,
)
from stack.jobs import ROOT
from stack.ports import HOST
from stack.schema import apply_schemas
from stack.servers import nats_cluster
from stack.streams import apply_streams
from users_batch.job import JOB as USERS_BATCH

from .prometheus import Prometheus

T = TypeVar("T")

FASTER = 60
STORAGE_BYTES = 16 * 2**20
PICTURE = "images/somebody.png"
_FILLER = "retry.wait.filler"  # in the retries stream, where it stays
_PIECE = b"x" * 200_000
_USERS = "INSERT INTO users (name, email) SELECT 'A B', n || '@example.com' FROM generate_series(1, $1::int) AS n"
_NOBODIES = "INSERT INTO users (name, email) SELECT 'A B', 'nobody' FROM generate_series(1, $1::int)"


class KedaPage(Collector):
    """Stand-in for KEDA's operator. While `fails` is set, each scrape counts one more error of its scaler."""

    def __init__(self) -> None:
        self.fails = False
        self._errors = 0

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("keda_build_info", "As KEDA 2.21 has it", value=1)
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
        self._second_exporter: JobProcess | None = None
        self.keda_is_scraped = True
        self.backups = str(folder / "backups")
        self._folder = folder
        servers = self.nats.environment() | self.s3.environment() | self.postgres.environment()
        patient = {"DOWNLOAD_TIMEOUT_S": "300", "HANDLER_TIMEOUT_S": "300"}
        settings = {
            "CONCURRENCY": "2",
            "SLO_OBJECTIVE": "90",
            "DOWNLOAD_ALLOW_ADDRESSES": self.silent_url.removeprefix("http://"),
            **patient,
        }
        self._environment = {**servers, **settings, "NATS_MONITORING_URL": self.nats.monitor_url}
        self.jobs = {job: self._job(job) for job in job_names(EventJob)}
        self.exporter = self._job("exporter")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for server in (self.nats, self.s3, self.postgres):
                started.callback(server.kill)
                server.start()
            # Before the first look into the bucket: the store notices no file that is put there later.
            _store_picture(self.s3.bucket_folder / PICTURE)
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
        targets = {job: process.http_url for job, process in self.jobs.items() if process.alive}
        targets["exporter"] = self.exporter.http_url
        if self._second_exporter:
            targets["second-exporter"] = self._second_exporter.http_url
        if self.keda_is_scraped:
            targets["keda-operator"] = self._keda_url
        self.prometheus.scrape(targets)

    @contextmanager
    def cluster(self) -> Iterator[list[NatsServer]]:
        """Run three NATS servers with replicated streams, and an exporter that asks the last one for its own view."""
        servers = nats_cluster(self._folder / "cluster")
        url = ",".join(server.url for server in servers)
        try:
            asyncio.run(_apply_replicated(url))
            with self._exporter_of(servers[-1], NATS_URL=url):
                yield servers
        finally:
            for server in servers:
                server.kill()

    @contextmanager
    def encrypted(self) -> Iterator[Callable[[int], None]]:
        """Run a NATS server with TLS, and an exporter that reads its monitoring.

        Yield a function that lets it show a certificate for a number of days.
        """
        folder = self._folder / "encrypted"
        authority = Authority(folder)
        shown = authority.issue("tls")
        server = NatsServer(folder, extra=f'tls {{ cert_file: "{shown.certificate}", key_file: "{shown.key}" }}')

        def show(days: int) -> None:
            authority.issue("tls", days=days)
            server.signal(signal.SIGHUP)

        try:
            server.start()
            with self._exporter_of(server):
                yield show
        finally:
            server.kill()

    @contextmanager
    def _exporter_of(self, server: NatsServer, **settings: str) -> Iterator[None]:
        """Run and scrape a second exporter, which asks `server` for its own view."""
        exporter = self._job("exporter", NATS_MONITORING_URL=server.monitor_url, **settings)
        try:
            exporter.start()
            self._second_exporter = exporter
            self.scrape()
            yield
        finally:
            self._second_exporter = None
            self.scrape()
            exporter.kill()

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

    def back_up(self, place: str) -> bool:
        """Back the streams up, and return whether that worked."""
        command = ["keda-jobs", "streams", "backup", "--to", place]
        environment = {**os.environ, **self._environment}
        return subprocess.run(command, env=environment, check=False, capture_output=True).returncode == 0

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
        self.forget(RETRY_STREAM, _FILLER)

    def with_nats(self, action: Callable[[Client], Awaitable[T]]) -> T:
        """Run `action` with a connection to NATS."""

        async def run() -> T:
            client = await nats.connect(self.nats.url)
            try:
                return await action(client)
            finally:
                await client.close()

        return asyncio.run(run())

    def forget(self, stream: str, subject: str) -> None:
        """Delete the messages of a subject."""

        async def run(client: Client) -> None:
            await client.jetstream().purge_stream(stream, subject=subject)

        self.with_nats(run)

    def forget_retries(self) -> None:
        """Delete the retries that wait, until no job holds a message that may become one.

        Raises `TimeoutError`.
        """

        async def are_forgotten(client: Client) -> bool:
            jetstream = client.jetstream()
            await jetstream.purge_stream(RETRY_STREAM)
            consumers = [await jetstream.consumer_info(STREAM, f"{job}-consumer") for job in self.jobs]
            if any(consumer.num_pending or consumer.num_ack_pending for consumer in consumers):
                return False
            return not (await jetstream.stream_info(RETRY_STREAM)).state.messages

        wait_until(lambda: self.with_nats(are_forgotten))

    def insert_users(self, rows: int) -> None:
        """Insert rows for users-batch."""
        self._with_postgres(lambda connection: connection.execute(_USERS, rows))

    def insert_nobodies(self, rows: int) -> None:
        """Insert rows that fail permanently."""
        self._with_postgres(lambda connection: connection.execute(_NOBODIES, rows))

    def delete_users(self) -> None:
        """Delete all rows of users-batch."""
        self._with_postgres(lambda connection: connection.execute("DELETE FROM users"))

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

    def _job(self, job: str, **others: str) -> JobProcess:
        return JobProcess(job, self._environment | others, self._folder / f"{job}.log")

    def _serve_keda(self, started: ExitStack) -> str:
        registry = CollectorRegistry()
        registry.register(self.keda)
        server, thread = start_http_server(0, HOST, registry)
        started.callback(thread.join)
        started.callback(server.server_close)
        started.callback(server.shutdown)
        return f"http://{HOST}:{server.server_port}"


def _store_picture(path: Path) -> None:
    path.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8), "teal").save(path)


async def _apply_replicated(nats_url: str) -> None:
    settings = NatsSettings.model_construct(nats_url=nats_url)
    async with connect(settings, name="drill", wait=True) as connection:
        await apply(connection, with_replicas(read_declaration(ROOT / "jobs"), 3))
