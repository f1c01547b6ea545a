"""Groups of servers and jobs: what event jobs need and those jobs, or the whole stack."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from keda_jobs.claims.roles import EXPORTER
from keda_jobs.event.job import EventJob
from keda_jobs.long import LongJob
from stack.jobs import JobProcess, all_jobs, job_names
from stack.postgres import DATABASE, PostgresServer
from stack.process import Process
from stack.schema import apply_schemas
from stack.servers import NatsServer, S3Server
from stack.streams import apply_streams

# The default SHUTDOWN_GRACE_S of a job, and time to close its connections.
_JOB_STOP_S = 35.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the stack: event jobs use `http` and the ports after it, services `service`. 0 is any free port.

    `ui` is that of the page, which only the stack in the background has.
    """

    nats: int = 4222
    monitor: int = 8222
    s3: int = 9000
    postgres: int = 5432
    http: int = 8080
    service: int = 9180
    ui: int = 8070


FREE_PORTS = Ports(0, 0, 0, 0, 0, 0, 0)


class EventStack:
    """NATS with the declared stream and consumers, S3, and every event job that keeps running, under `folder`.

    The jobs get `environment` and the addresses of the servers.
    """

    def __init__(self, folder: Path, ports: Ports, environment: Mapping[str, str] | None = None) -> None:
        self.nats = NatsServer(folder, ports.nats, ports.monitor)
        self.s3 = S3Server(folder, ports.s3)
        self.environment = {**self.nats.environment(), **self.s3.environment(), **(environment or {})}
        names = [job.name for job in all_jobs() if isinstance(job, EventJob) and not job.ends]
        self.jobs = [
            JobProcess(name, self.environment, folder / f"{name}.log", ports.http and ports.http + index)
            for index, name in enumerate(names)
        ]

    @property
    def processes(self) -> list[Process]:
        """Processes in the order of their start."""
        return [self.nats, self.s3, *self.jobs]

    def start(self) -> None:
        """Start everything and wait until it is ready. Raises `StackError` after stopping everything."""
        try:
            self.nats.start()
            self.s3.start()
            asyncio.run(apply_streams(self.nats.url))
            for job in self.jobs:
                job.launch()
            for job in self.jobs:
                job.wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the jobs, all at once, then the servers."""
        for job in self.jobs:
            job.signal(signal.SIGTERM)
        for job in self.jobs:
            job.stop(_JOB_STOP_S)
        self.s3.stop()
        self.nats.stop()

    def kill(self) -> None:
        """Kill everything, for when nobody waits for what is in flight."""
        for process in reversed(self.processes):
            process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class LocalStack(EventStack):
    """Event stack, PostgreSQL with the tables of every batch job, and all other jobs that keep running.

    Batch jobs have no workers here, because KEDA would start them. Long jobs have one process each, for the supervisor
    to start in place of KEDA.
    """

    def __init__(self, folder: Path, ports: Ports, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, ports, environment)
        self.postgres = PostgresServer(folder, ports.postgres)
        self.environment = {**self.environment, **self.postgres.environment()}
        own = {
            **self.environment,
            "NATS_MONITORING_URL": self.nats.monitor_url,
            "PG_DSN": self.postgres.dsn_of(DATABASE, EXPORTER),
        }
        names = [job.name for job in all_jobs() if not job.ends and not isinstance(job, EventJob)]
        self.jobs += [
            JobProcess(
                name, own, folder / f"{name}.log", ports.service and ports.service + index, port_option="--service-port"
            )
            for index, name in enumerate(names)
        ]

        self.long_jobs = [JobProcess(name, self.environment, folder / f"{name}.log") for name in job_names(LongJob)]

    @property
    def processes(self) -> list[Process]:
        return [self.postgres, *super().processes]

    def start(self) -> None:
        try:
            self.postgres.start()
            asyncio.run(apply_schemas(self.postgres.dsn))
            super().start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        for job in self.long_jobs:
            job.signal(signal.SIGTERM)
        for job in self.long_jobs:
            job.stop(_JOB_STOP_S)
        super().stop()
        self.postgres.stop()
