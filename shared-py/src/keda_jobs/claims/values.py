"""Values that a job returns, on their way to the server.

The driver takes the values of many rows as one array of each column, and fails with all of them because of one: it
cannot encode a value, or the server cannot read it. So where a statement failed, the driver reads values that note how
far it came, and the server gets texts, which it reads one by one as it writes their rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import NamedTuple

from keda_jobs.postgres import encode_json


class ColumnType(NamedTuple):
    """SQL type of a column, without a length. That of a domain is the type below it.

    Values of most types reach the server whenever the driver can encode them. Those of others `is_text` for the driver,
    which the server may refuse to read: labels of an enum, JSON, characters that the database does not have.
    """

    sql: str
    is_text: bool = False
    is_json: bool = False

    @property
    def handed_over(self) -> str:
        """SQL type that the driver encodes where values are handed over as texts."""
        return "text" if self.is_text else self.sql

    def read(self, text: str) -> str:
        """Write the expression that reads the `text` of a value that was handed over."""
        return f"{f'unistr({text})' if self.is_text else text}::{self.sql}"


def to_arrays(types: Iterable[ColumnType], rows: Iterable[Sequence[object]]) -> list[list[object]]:
    """Return the values of each column. Raises `ValueError` for a value that the driver would take for more."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    for number, (kind, column) in enumerate(zip(types, columns, strict=True)):
        if kind.is_json:
            columns[number] = [value if value is None else encode_json(value) for value in column]
        else:
            # After one that is no array, the driver refuses an array.
            _refuse_array(kind, column[0])
    return columns


def to_texts(types: Iterable[ColumnType], values: Sequence[object], encoding: str) -> list[object]:
    """Return the values of a row as they are handed over. Raises `ValueError` for one that has no place in its column.

    `encoding` is that of the database. What it may have no character for is escaped, for `unistr`.
    """
    texts: list[object] = []
    for kind, value in zip(types, values, strict=True):
        text = encode_json(value) if kind.is_json and value is not None else value
        if isinstance(text, str):
            texts.append(_escape(text, encoding) if kind.is_text else text)
        else:
            _refuse_array(kind, text)
            texts.append(text)
    return texts


def _refuse_array(kind: ColumnType, value: object) -> None:
    """Raise `ValueError` for a value that is a further dimension of an array for the driver."""
    is_scalar = isinstance(value, str | bytes | bytearray | memoryview | tuple | Mapping)
    if not is_scalar and isinstance(value, Sized) and isinstance(value, Iterable):
        raise ValueError(f"{type(value).__name__} is no value of {kind.sql}")


_NEVER_STORED, _NOT_ASCII = re.compile("[\\\\\0\ud800-\udfff]"), re.compile("[\\\\\0\x80-\U0010ffff]")


def _escape(text: str, encoding: str) -> str:
    escaped = _NEVER_STORED if encoding in ("UTF8", "SQL_ASCII") else _NOT_ASCII
    return escaped.sub(lambda found: f"\\+{ord(found[0]):06x}", text)


@dataclass(slots=True)
class Progress:
    """Number of the row whose value the driver reads. None while it reads none."""

    row: int | None = None


class NotedValues:
    """Values of one column, which note how far the driver came."""

    def __init__(self, values: Sequence[object], progress: Progress) -> None:
        self._values = values
        self._progress = progress

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values[self._progress.row or 0])  # for the driver's message

    def __iter__(self) -> Iterator[object]:
        for row, value in enumerate(self._values):
            self._progress.row = row
            yield value
        self._progress.row = None
