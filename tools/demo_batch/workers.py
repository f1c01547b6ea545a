"""The worker processes of the demo."""

from __future__ import annotations

import signal
from pathlib import Path

from stack import BatchWorker, PostgresServer
from stack.postgres import DATABASE
from users_batch.job import JOB

_ROLE = "users_worker"
# Work that is interrupted by Ctrl-C is not wanted any more.
_ENVIRONMENT = {"SHUTDOWN_GRACE_S": "1"}


class Workers:
    """`count` workers of users-batch, with the rights that the schema gives to workers."""

    def __init__(self, postgres: PostgresServer, count: int, folder: Path) -> None:
        environment = {"PG_DSN": postgres.dsn_of(DATABASE, _ROLE), **_ENVIRONMENT}
        names = [f"worker-{number}" for number in range(1, count + 1)]
        self.all = [BatchWorker(JOB.name, environment, folder / f"{name}.log", name) for name in names]

    @property
    def are_running(self) -> bool:
        """Whether one has something left to do. Raises `StackError` when one has failed."""
        for worker in self.all:
            worker.raise_if_exited()
        return any(worker.alive for worker in self.all)

    def start(self) -> None:
        """Launch all of them."""
        for worker in self.all:
            worker.launch()

    def stop(self) -> None:
        """Stop together those that still run."""
        for worker in self.all:
            worker.signal(signal.SIGTERM)
        for worker in self.all:
            worker.stop()
