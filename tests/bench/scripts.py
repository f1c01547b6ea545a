"""Programs of this folder as child processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stack import Process, StackError, until

HERE = Path(__file__).resolve().parent


class Script(Process):
    """`python *arguments` with this folder on its path. The log holds only the last run."""

    def __init__(
        self, name: str, arguments: list[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name, log)
        self._arguments = arguments
        self._environment = environment or {}

    def prepare(self) -> None:
        self.log.unlink(missing_ok=True)

    def command(self) -> list[str]:
        return [sys.executable, *self._arguments]

    def process_environment(self) -> Mapping[str, str]:
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        return {**os.environ, **self._environment, "PYTHONPATH": path}

    def answers(self) -> bool:
        return True


async def run_together(scripts: Sequence[Script], deadline_s: float) -> None:
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
