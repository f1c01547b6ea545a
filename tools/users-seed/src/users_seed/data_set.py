"""Data set: its parameters, its chunks and the number of invalid rows in each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

# About 10 MB and a quarter of a second of one core: an interruption costs little, and 50 million rows are 250 files.
# A multiple of the queue's 20 000, so that a range does not reach from one chunk into the next.
CHUNK_ROWS = 200_000

# Version of the rows that a set of parameters gives.
FORMAT = 1

COLUMNS = ("id", "name", "email")
"""Columns of the files. The others have defaults or belong to the worker."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one file, of which `invalid` are invalid."""

    number: int
    first_id: int
    rows: int
    invalid: int

    @property
    def file_name(self) -> str:
        """Name of the chunk's file."""
        return f"users-{self.number:05d}.csv"


@dataclass(frozen=True, slots=True)
class ChunkFile:
    """Finished file, with the number of rows that are invalid by name and by e-mail."""

    number: int
    file: str
    first_id: int
    rows: int
    invalid_names: int
    invalid_emails: int
    bytes: int
    sha256: str

    @property
    def invalid(self) -> int:
        """Number of invalid rows."""
        return self.invalid_names + self.invalid_emails


@dataclass(frozen=True, slots=True)
class DataSet:
    """Parameters of a data set. The same ones give the same bytes."""

    rows: int
    seed: int = 1
    invalid_share: float = 0.01
    chunk_rows: int = CHUNK_ROWS

    @property
    def invalid(self) -> int:
        """Number of invalid rows."""
        return self._invalid_up_to(self.rows)

    def chunks(self) -> list[Chunk]:
        """Return all chunks by number."""
        return [self._chunk(number, first) for number, first in enumerate(range(0, self.rows, self.chunk_rows))]

    def as_json(self) -> dict[str, Any]:
        """Return the parameters, which identify the data set."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    def __str__(self) -> str:
        return f"{self.rows:,} rows, seed {self.seed}, invalid share {self.invalid_share:g}"

    def _chunk(self, number: int, first: int) -> Chunk:
        end = min(first + self.chunk_rows, self.rows)
        return Chunk(number, first + 1, end - first, self._invalid_up_to(end) - self._invalid_up_to(first))

    def _invalid_up_to(self, rows: int) -> int:
        # Not in floats: 0.07 × 100 would be 7.000000000000001, and the next one less than it should be.
        return int(Fraction(str(self.invalid_share)) * rows)
