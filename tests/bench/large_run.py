"""Command line of the programs that measure one large run in a folder of their own."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

from stack import StackError


class Run(Protocol):
    """Run of `rows` in a folder."""

    def __call__(self, folder: Path, rows: int, *, durable: bool) -> Awaitable[None]:
        """Run it. Raises `StackError`."""


def main(name: str, description: str | None, rows: int, run: Run) -> int:
    """Parse the command line, run, and return the exit code. `rows` is the default."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="created if it does not exist")
    parser.add_argument("--rows", type=int, default=rows)
    parser.add_argument("--durable", action="store_true", help="fsync and full_page_writes on, as in production")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)

    async def run_all() -> None:
        await run(arguments.folder.resolve(), arguments.rows, durable=arguments.durable)

    try:
        asyncio.run(run_all())
    except StackError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
