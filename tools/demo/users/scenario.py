"""Seed users, let two workers validate them and show what became of them."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import asyncpg

from demo.display import display, print_line, print_places, print_tables
from demo.resources import running
from demo.users.progress import Report, read_progress, read_report
from demo.users.seeding import Seeded, seed
from demo.users.tables import reasons_table, status_table, workers_table
from stack import BatchWorker, PostgresServer, StackError
from stack.postgres import DATABASE
from users_batch.job import JOB

_ROWS = 200_000
_WORKERS = 2
_POLL_S = 0.1
_DEADLINE_S = 120.0
_ROLE = "users_worker"
# Nobody waits for work that Ctrl-C interrupts.
_ENVIRONMENT = {"SHUTDOWN_GRACE_S": "1"}


class _Workers:
    """Worker processes with the rights that the schema gives to workers."""

    def __init__(self, postgres: PostgresServer, folder: Path) -> None:
        environment = {"PG_DSN": postgres.dsn_of(DATABASE, _ROLE), **_ENVIRONMENT}
        names = [f"worker-{number}" for number in range(1, _WORKERS + 1)]
        self._all = [BatchWorker(JOB.name, environment, folder / f"{name}.log", name) for name in names]

    @property
    def are_running(self) -> bool:
        """True while one has something left to do. Raises `StackError` when one has failed."""
        for worker in self._all:
            worker.raise_if_exited()
        return any(worker.alive for worker in self._all)

    def start(self) -> None:
        for worker in self._all:
            worker.launch()

    def stop(self) -> None:
        for worker in self._all:
            worker.signal(signal.SIGTERM)
        for worker in self._all:
            worker.stop()


def run_users(folder: Path) -> list[str]:
    """Run the users through the workers and return the failures. Raises `StackError`."""
    print_line("Starting PostgreSQL")
    with running(PostgresServer(folder)) as postgres:
        print_line(f"Seeding {_ROWS:,} users into {postgres.dsn}")
        seeded = seed(postgres, _ROWS, folder / "users")
        print_line(f"Starting {_WORKERS} workers: python -m users_batch")
        with running(_Workers(postgres, folder)) as workers:
            report = asyncio.run(_follow(postgres, workers, seeded))
    print_tables(status_table(report), workers_table(report), reasons_table(report))
    total = report.progress.total
    seconds = total.ended - total.began
    print_line(f"\n{total.rows:,} users in {seconds:.1f} s by {_WORKERS} workers: {total.rows_per_s:,.0f} rows/s.")
    print_places({"database": folder / "postgres", "users as CSV": folder / "users", "logs": folder / "*.log"})
    return report.failures


async def _follow(postgres: PostgresServer, workers: _Workers, seeded: Seeded) -> Report:
    """Show the progress of the workers until they have ended. Raises `StackError` when they or the server fail."""
    give_up = time.monotonic() + _DEADLINE_S
    connection = await asyncpg.connect(postgres.dsn, ssl=False)
    try:
        with display() as show:
            while workers.are_running:
                postgres.raise_if_exited()
                if time.monotonic() > give_up:
                    raise StackError(f"the workers have not ended after {_DEADLINE_S:g} s")
                show(await read_progress(connection, seeded))
                await asyncio.sleep(_POLL_S)
            report = await read_report(connection, seeded)
            show(report.progress)
        return report
    finally:
        connection.terminate()
