"""Samples of processes: private memory, descriptors and threads, and whether they stay flat."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Mapping, Sequence
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


class Rise(NamedTuple):
    """Mean of the second half of the time, and how much its trend line rises in that time."""

    mean: float
    rise: float


# A rise of at most this share of the mean, or of at most this much where that is more, is flat.
_SHARE = 0.05
_ROOM = Use(memory=4, descriptors=2, threads=1)


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


def rises(samples: Sequence[Sample], process: str) -> Mapping[str, Rise]:
    """Return the rise of each field of `Use` for a process over the second half of the samples."""
    half = samples[len(samples) // 2 :]
    times = [sample.at_s for sample in half]
    return {field: _rise(times, [getattr(sample.uses[process], field) for sample in half]) for field in Use._fields}


def _rise(times: Sequence[float], values: Sequence[float]) -> Rise:
    slope = statistics.linear_regression(times, values).slope
    return Rise(statistics.fmean(values), slope * (times[-1] - times[0]))


def is_flat(field: str, rise: Rise) -> bool:
    """Return whether that rise of a field is none."""
    room: float = getattr(_ROOM, field)
    return rise.rise <= max(_SHARE * rise.mean, room)
