"""What happens to one row."""

from __future__ import annotations

from typing import NamedTuple

from <package>.settings import Settings
from keda_jobs import Permanent
from keda_jobs.batch import BatchContext


class Entered(NamedTuple):
    """The columns that are read."""

    name: str | None


class Checked(NamedTuple):
    """The columns that are written."""

    checked_name: str


class Invalid(Permanent):
    """A field is wrong, and trying again cannot help. The text names the field and never what stands in it."""


async def handle(row: Entered, _job: BatchContext[Settings]) -> Checked:
    """The name with single blanks. Raises `Invalid`."""
    name = " ".join((row.name or "").split())
    if not name:
        raise Invalid("name: missing")
    return Checked(name)
