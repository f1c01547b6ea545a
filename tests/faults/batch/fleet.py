"""Worker processes, started as KEDA does: while rows are claimable, up to a maximum."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Mapping
from pathlib import Path

from stack import JobProcess, until

from .queue_view import QueueView


class Worker(JobProcess):
    """One worker process. `name` is its job and `pod` its name in `batch_jobs`."""

    def __init__(self, job: str, pod: str, environment: Mapping[str, str], folder: Path) -> None:
        super().__init__(job, {**environment, "POD_NAME": pod}, folder / f"{pod}.log")
        self.pod = pod

    def has_logged(self, text: str) -> bool:
        """Return whether its log contains `text`."""
        return text in self.log.read_text(errors="replace")


class Fleet:
    """Workers of one job on one server, including the dead ones."""

    def __init__(self, queue: QueueView, job: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._queue = queue
        self._job = job
        self._folder = folder
        self._environment = environment
        self.workers: list[Worker] = []
        self.killed: list[Worker] = []

    @property
    def alive(self) -> list[Worker]:
        """Workers that are running."""
        return [worker for worker in self.workers if worker.alive]

    async def add(self, **environment: str) -> Worker:
        """Start a worker, without waiting for its first claim."""
        environment = {**self._environment, **environment}
        worker = Worker(self._job, f"pod-{len(self.workers)}", environment, self._folder)
        await asyncio.to_thread(worker.launch)
        self.workers.append(worker)
        return worker

    async def scale(self, most: int, rows_per_worker: int) -> None:
        """Start the workers that the scaler's query asks for, minus those without a claim (KEDA's `accurate`).

        Fails when a worker has failed, because it would be restarted forever.
        """
        self._none_failed()
        wanted = math.ceil(await self._queue.claimable() / rows_per_worker)
        claimed = await self._queue.pods()
        pending = sum(worker.pod not in claimed for worker in self.alive)
        for _ in range(min(wanted - pending, most - len(self.alive))):
            await self.add()

    async def kill(self, worker: Worker) -> None:
        """Send SIGKILL. `exit_code` tells whether the worker had exited before."""
        await asyncio.to_thread(worker.kill)
        if worker.exit_code == -signal.SIGKILL:
            self.killed.append(worker)

    async def finish(self, deadline_s: float = 60.0) -> None:
        """Wait until all have exited. Fails unless every worker that was not killed exited with 0."""
        await until(lambda: not self.alive, deadline_s)
        self._none_failed()

    def _none_failed(self) -> None:
        for worker in self.workers:
            if worker not in self.killed and not worker.alive:
                assert worker.exit_code == 0, f"{worker.pod} exited with {worker.exit_code}: {worker.last_line()}"

    def kill_all(self) -> None:
        """Kill all workers."""
        for worker in self.workers:
            worker.kill()
