"""Handling of one row."""

from __future__ import annotations

from typing import NamedTuple

from <package>.settings import Settings
from keda_jobs import Permanent
from keda_jobs.batch import BatchContext


class Entered(NamedTuple):
    """Columns to read."""

    name: str | None


class Checked(NamedTuple):
    """Columns to write."""

    checked_name: str


class Invalid(Permanent):
    """A field is wrong, and no retry helps. The message names the field and never its value."""


async def handle(row: Entered, _job: BatchContext[Settings]) -> Checked:
    """Write the name with single blanks. Raises `Invalid`."""
    name = " ".join((row.name or "").split())
    if not name:
        raise Invalid("name: missing")
    return Checked(name)
