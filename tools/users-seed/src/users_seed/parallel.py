"""Processes that write chunk files, one task after the other.

A pool of the standard library would survive the process that started it. These processes end with their connection.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from keda_jobs.errors import JobError
from users_seed.chunk_files import Made, Task, serve
from users_seed.data_set import DataSet


def by_processes(tasks: Sequence[Task], data_set: DataSet, folder: Path, processes: int) -> Generator[Made, None, None]:
    """Run the tasks and yield their results as they end. Raises `JobError`."""
    waiting = iter(tasks)
    busy: list[_Process] = []
    try:
        for _ in range(min(processes, len(tasks))):
            busy.append(_Process.start(data_set, folder))
            busy[-1].connection.send(next(waiting))
        while busy:
            ready = wait([process.connection for process in busy])
            for process in [process for process in busy if process.connection in ready]:
                yield process.answer()
                following = next(waiting, None)
                if following is None:
                    busy.remove(process)
                    process.end()
                else:
                    process.connection.send(following)
    finally:
        for process in busy:
            process.process.terminate()
            process.end()


@dataclass(frozen=True, slots=True)
class _Process:
    process: BaseProcess
    connection: Connection

    @classmethod
    def start(cls, data_set: DataSet, folder: Path) -> _Process:
        # Spawned, not forked: a fork would copy whatever threads and connections the caller has.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, data_set, folder), daemon=True)
        process.start()
        # Open in one process only, so that its end is the connection's.
        theirs.close()
        return cls(process, ours)

    def answer(self) -> Made:
        try:
            answer: Made | OSError = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            self.process.join()
            raise JobError(
                f"a process that wrote files died (exit code {self.process.exitcode}); the same command goes on"
            ) from error
        if isinstance(answer, OSError):
            raise JobError(f"{answer.filename}: {answer.strerror}; the same command goes on where it was")
        return answer

    def end(self) -> None:
        self.connection.close()
        self.process.join()
