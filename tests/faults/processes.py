"""Job processes: how tests start them, what they say of their messages, and jobs made for one test."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from stack import JobProcess, until

StartJob = Callable[..., Awaitable[JobProcess]]
Declare = Callable[..., Awaitable[None]]


def outcomes(job: JobProcess) -> list[dict[str, Any]]:
    """Read the job's log lines about messages, one for each delivery it has settled."""
    lines = [json.loads(line) for line in job.log.read_text().splitlines()]
    return [line for line in lines if "attempt" in line]


async def reported(job: JobProcess, count: int) -> list[dict[str, Any]]:
    """Wait for `count` outcomes and return them. A line comes a moment after the ack that settles its message."""

    async def all_said() -> bool:
        return len(outcomes(job)) >= count

    await until(all_said)
    return outcomes(job)


def write_job(folder: Path, package: str, source: str) -> dict[str, str]:
    """Make a job of one file in `folder`. Return the environment in which `python -m <package>` finds it."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").touch()
    (folder / package / "__main__.py").write_text(source)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
