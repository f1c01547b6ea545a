"""Results of row handlers: the columns and events that the annotation names, and the values of each row."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Self

from keda_jobs.claims.rows import ClaimedRow, CompletedRow
from keda_jobs.domain.emitted import Outputs
from keda_jobs.domain.event import Event

Columns = type[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Returned:
    """Annotation of what a handler returns for a row: a NamedTuple of columns, events, or both as a tuple."""

    columns: Columns | None
    outputs: Outputs = field(default_factory=Outputs)

    @classmethod
    def from_annotation(cls, annotation: object, handler: str, *, of_many: bool) -> Self:
        """Read the return annotation of `handler`, which returns a list of such results where it is `of_many` rows.

        Raises `TypeError` for an annotation that leaves open which columns or events it returns.
        """
        match _kinds_in_list(annotation) if of_many else _kinds(annotation):
            case [_, *_] as kinds if all(kind is NoneType for kind in kinds):
                return cls(None)
            case [kind] if columns := named_tuple(kind):
                return cls(columns)
            case [kind] if (pair := _pair(kind)) and (columns := named_tuple(pair[0])):
                return cls(columns, Outputs.from_annotation(pair[1], handler))
            case [_, *_] as kinds if any(map(_names_events, kinds)):
                return cls(None, Outputs.from_annotation(typing.Union[tuple(kinds)], handler))  # noqa: UP007 (a list)
        many = ", a list of them and exceptions" if of_many else ""
        raise TypeError(
            f"{handler} must be annotated to return a NamedTuple of columns, events, a tuple of both, or None{many}"
        )


class ResultReader:
    """Reader of what a handler returned for a row. An event has at most `max_bytes` bytes."""

    def __init__(self, returned: Returned, max_bytes: int) -> None:
        self._columns = NoneType if returned.columns is None else returned.columns
        self._outputs = returned.outputs
        self._max_bytes = max_bytes
        self.read = self._read_columns
        """Read the result of a row. Raises `TypeError` for what the annotation does not name, and `Permanent`."""
        if returned.outputs.events:
            self.read = self._read_both if returned.columns else self._read_events

    def _read_columns(self, row: ClaimedRow, result: Any) -> CompletedRow:
        if type(result) is not self._columns:
            raise TypeError(f"the handler returned {type(result).__name__}, not {self._columns.__name__}")
        return CompletedRow(row, result or ())

    def _read_events(self, row: ClaimedRow, result: Any) -> CompletedRow:
        return CompletedRow(row, (), self._outputs.encode(result, self._max_bytes))

    def _read_both(self, row: ClaimedRow, result: Any) -> CompletedRow:
        if type(result) is not tuple or len(result) != len(("columns", "events")):
            raise TypeError(f"the handler returned {type(result).__name__}, not ({self._columns.__name__}, events)")
        return self._read_columns(row, result[0])._replace(events=self._outputs.encode(result[1], self._max_bytes))


def named_tuple(kind: object) -> Columns | None:
    """Return `kind` if it is a NamedTuple."""
    return kind if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields") else None


def _pair(kind: object) -> tuple[object, object] | None:
    arguments = typing.get_args(kind) if typing.get_origin(kind) is tuple else ()
    return arguments if len(arguments) == len(("columns", "events")) else None


def _kinds(annotation: object) -> list[object]:
    """List the kinds of results, each once."""
    is_union = typing.get_origin(annotation) in (typing.Union, UnionType)
    kinds = typing.get_args(annotation) if is_union else (annotation,)
    return [NoneType if kind is None else kind for kind in kinds]  # list[None] keeps the None itself


def _kinds_in_list(annotation: object) -> list[object]:
    """List the kinds of items in a list of results, without exceptions."""
    if typing.get_origin(annotation) not in (list, Sequence):
        return []
    (items,) = typing.get_args(annotation)
    return [kind for kind in _kinds(items) if not (isinstance(kind, type) and issubclass(kind, Exception))]


def _names_events(kind: object) -> bool:
    arguments = typing.get_args(kind)
    if arguments:
        return any(map(_names_events, arguments))
    return isinstance(kind, type) and issubclass(kind, Event)
