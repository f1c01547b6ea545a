"""The handler: each kind of parcel is one behaviour of a handler."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from keda_jobs import Permanent, RetryAfter, Transient
from keda_jobs.batch import BatchContext, BatchSettings, batch_job
from keda_jobs.errors import StoreUnavailable


class Settings(BatchSettings):
    """Files by which a test controls the job."""

    gate: Path
    """Waiting rows continue once it exists."""
    runs: Path
    """A line for each run of the handler: `<id> <kind>`."""


@dataclass(frozen=True)
class Gate:
    """Gate that rows wait for."""

    file: Path

    @property
    def is_open(self) -> bool:
        return self.file.exists()


class Parcel(NamedTuple):
    """Columns that the job reads."""

    id: int
    kind: str
    attempts: int


class Sticker(NamedTuple):
    """Columns that the job writes."""

    label: str | None
    size: int


def _sticker(parcel: Parcel) -> Sticker:
    return Sticker(f"parcel {parcel.id}", 1)


async def _waits(parcel: Parcel, gate: Gate) -> Sticker:
    while not gate.is_open:  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.01)
    return _sticker(parcel)


async def _spins(parcel: Parcel, gate: Gate) -> Sticker:
    """Block the event loop for 5 ms, unless the gate is open."""
    ends = time.monotonic() + 0.005
    while not gate.is_open and time.monotonic() < ends:
        pass
    return _sticker(parcel)


async def _freezes(parcel: Parcel, gate: Gate) -> Sticker:
    """Block the event loop until the gate is open."""
    while not gate.is_open:
        pass
    return _sticker(parcel)


async def _needs_the_store(parcel: Parcel, gate: Gate) -> Sticker:
    if not gate.is_open:
        raise StoreUnavailable("the store is away")
    return _sticker(parcel)


async def _fails_once(parcel: Parcel, _gate: Gate) -> Sticker:
    if parcel.attempts == 0:
        raise Transient("not yet")
    return _sticker(parcel)


async def _kills_its_process(_parcel: Parcel, _gate: Gate) -> Sticker:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


async def _cancels(_parcel: Parcel, _gate: Gate) -> Sticker:
    raise asyncio.CancelledError


async def _asks_to_exit(_parcel: Parcel, _gate: Gate) -> Sticker:
    sys.exit("enough")


async def _has_a_bug(parcel: Parcel, _gate: Gate) -> Sticker:
    return Sticker(parcel.weight, 1)  # type: ignore[attr-defined]


async def _returns_something_else(parcel: Parcel, _gate: Gate) -> Any:
    return parcel


def _fails_by(error: Exception) -> Callable[[Parcel, Gate], Awaitable[Sticker]]:
    async def fail(_parcel: Parcel, _gate: Gate) -> Sticker:
        raise error

    return fail


def _returns(label: Any, size: Any = 1) -> Callable[[Parcel, Gate], Awaitable[Sticker]]:
    async def give(_parcel: Parcel, _gate: Gate) -> Sticker:
        return Sticker(label, size)

    return give


async def _is_fine(parcel: Parcel, _gate: Gate) -> Sticker:
    return _sticker(parcel)


_BY_KIND: dict[str, Callable[[Parcel, Gate], Awaitable[Sticker]]] = {
    "fine": _is_fine,
    "waits": _waits,
    "spins": _spins,
    "freezes": _freezes,
    "needs the store": _needs_the_store,
    "fails once": _fails_once,
    "kills its process": _kills_its_process,
    "cancels": _cancels,
    "asks to exit": _asks_to_exit,
    "has a bug": _has_a_bug,
    "returns something else": _returns_something_else,
    "is refused": _fails_by(Permanent("no such street")),
    "fails": _fails_by(Transient("the scales are broken")),
    "has two tries": _fails_by(Transient("nobody at home", max_deliveries=2)),
    "is told to rest": _fails_by(RetryAfter("busy", delay_s=500)),
    "has a NUL": _returns("a\0b"),
    "is too long": _returns("x" * 21),
    "is a twin": _returns("twin"),
    "is forbidden": _returns("forbidden"),
    "is alien": _returns("alien"),
    "is too large": _returns(None, 70_000),
    "is no number": _returns(None, "large"),
}


async def ship(parcel: Parcel, job: BatchContext[Settings]) -> Sticker:
    """Label the parcel, or do what its kind says."""
    with job.settings.runs.open("a") as runs:
        runs.write(f"{parcel.id} {parcel.kind}\n")
    return await _BY_KIND[parcel.kind](parcel, Gate(job.settings.gate))


JOB = batch_job(ship, Settings, table="parcels")
