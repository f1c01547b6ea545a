"""The handler: a parcel waits for the gate, then it gets a label and is announced twice, a late one later."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from keda_jobs import Event, Later, later
from keda_jobs.batch import BatchContext, BatchSettings, batch_job
from keda_jobs.settings import NatsSettings

LATE_S = 2


class Settings(BatchSettings, NatsSettings):
    """Files by which a test controls the job."""

    gate: Path
    """Parcels continue once it exists."""
    runs: Path
    """A line for each run of the handler: `<id> <kind>`."""


class Parcel(NamedTuple):
    """Columns that the job reads."""

    id: int
    kind: str


class Sticker(NamedTuple):
    """Columns that the job writes."""

    label: str


class Announced(Event, subject="announced"):
    """A parcel."""

    number: int
    kind: str


class Counted(Event, subject="counted"):
    """That there is one parcel more."""


async def announce(
    parcel: Parcel, job: BatchContext[Settings]
) -> tuple[Sticker, list[Announced | Counted | Later[Counted]]]:
    """Label a parcel, and announce it."""
    with job.settings.runs.open("a") as runs:
        runs.write(f"{parcel.id} {parcel.kind}\n")
    while not job.settings.gate.exists():  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.01)
    counted = later(Counted(), LATE_S) if parcel.kind == "late" else Counted()
    return Sticker(f"parcel {parcel.id}"), [Announced(number=parcel.id, kind=parcel.kind), counted]


JOB = batch_job(announce, Settings, table="parcels", delete_completed=True)
