"""Samples of processes: private memory, descriptors and threads."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from faults.families import family


class Use(NamedTuple):
    """What a process and its children use. Memory is private, in MB: neither files nor PostgreSQL's shared buffers."""

    memory: float
    descriptors: float
    threads: float


class Sample(NamedTuple):
    """Use of each process, `at_s` seconds after the load began."""

    at_s: float
    uses: Mapping[str, Use]


def read_use(pid: int) -> Use:
    """Read the use of a process and its children from /proc."""
    return Use(*map(sum, zip(*(_read_one(one) for one in family(pid)), strict=True)))


def _read_one(pid: int) -> Use:
    folder = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        lines = (line.split() for line in (folder / "status").read_text().splitlines())
        values = {words[0]: words[1] for words in lines if len(words) > 1}
        return Use(int(values.get("RssAnon:", 0)) / 1000, len([*(folder / "fd").iterdir()]), int(values["Threads:"]))
    return Use(0, 0, 0)  # it has ended
