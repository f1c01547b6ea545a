"""Programs as child processes, and contestants that take turns."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stack import LocalStack, Process, StackError, until

HERE = Path(__file__).resolve().parent

S = TypeVar("S", bound=Process | LocalStack)
T = TypeVar("T")


class Script(Process):
    """Program with this folder on its Python path. The log holds only the last run."""

    def __init__(self, name: str, command: list[str], log: Path, environment: Mapping[str, str]) -> None:
        super().__init__(name, log)
        self._command = command
        self._environment = environment

    def prepare(self) -> None:
        self.log.unlink(missing_ok=True)

    def command(self) -> list[str]:
        return self._command

    def process_environment(self) -> Mapping[str, str]:
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        return {**os.environ, **self._environment, "PYTHONPATH": path}

    def answers(self) -> bool:
        return True

    def figures(self) -> list[float]:
        """Return the numbers in the last line of the output."""
        return [float(figure) for figure in self.last_line().split()]


@dataclass(frozen=True, slots=True)
class Bench:
    """Folder of servers and logs, number of rounds, and the function to call at the start of each step.

    `durable` asks for a PostgreSQL as in production, with fsync and full_page_writes on.
    """

    folder: Path
    rounds: int
    say: Callable[[str], None]
    durable: bool = False

    def script(self, name: str, module: str, *arguments: object, **environment: str) -> Script:
        """Build the program `python -m module *arguments`."""
        command = [sys.executable, "-m", module, *map(str, arguments)]
        return Script(name, command, self.folder / f"{name}.log", environment)

    async def in_turns(self, title: str, turns: Mapping[str, Callable[[], Awaitable[T]]]) -> dict[str, list[T]]:
        """Let each contestant take a turn in every round: what slows the machine for a while slows them all."""
        results: dict[str, list[T]] = {name: [] for name in turns}
        for round_ in range(1, self.rounds + 1):
            for name, turn in turns.items():
                self.say(f"{title}: round {round_} of {self.rounds}, {name}")
                results[name].append(await turn())
        return results


async def run_together(*scripts: Process, deadline_s: float = 180.0) -> None:
    """Start all of them and wait until each has ended well. Raises `StackError`."""
    try:
        for script in scripts:
            script.launch()
        await until(lambda: not any(script.alive for script in scripts), deadline_s)
    except TimeoutError:
        raise StackError(f"{scripts[0].name} was not done within {deadline_s:g} s (log: {scripts[0].log})") from None
    finally:
        codes = [script.kill() for script in scripts]
    for script, code in zip(scripts, codes, strict=True):
        if code:
            raise StackError(f"{script.name} exited with {code}: {script.last_line()} (log: {script.log})")


@asynccontextmanager
async def started(server: S) -> AsyncIterator[S]:
    """Start a server and stop it after the block, or kill it when the block fails or is interrupted."""
    await asyncio.to_thread(server.start)
    try:
        yield server
    except BaseException:
        await asyncio.to_thread(server.kill)
        raise
    await asyncio.to_thread(server.stop)
