"""Row handlers: their context, and the columns and events that their signature names."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from typing_extensions import TypeVar

from keda_jobs.batch.returned import Returned, named_tuple
from keda_jobs.runtime.cpu import Cpu
from keda_jobs.settings import BatchSettings

S = TypeVar("S", bound=BatchSettings, default=BatchSettings)
R = TypeVar("R", default=None)


@dataclass(frozen=True, slots=True)
class BatchContext(Generic[S, R]):
    """Context of one worker: its settings, CPU work outside the loop, and what the job opened (see `batch_job`)."""

    settings: S
    cpu: Cpu
    resources: R


@dataclass(frozen=True, slots=True)
class RowHandler:
    """Handler of one row, or of a `chunk` of rows.

    `row` is the NamedTuple of its signature, whose fields are the columns it reads. `returned` is what it returns for a
    row. `chunk` is None for a handler of one row.
    """

    function: Callable[[Any, Any], Awaitable[Any]]
    row: type[tuple[Any, ...]]
    returned: Returned
    chunk: int | None

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns that the handler reads."""
        return _columns(self.row)

    @property
    def writes(self) -> tuple[str, ...]:
        """Columns that the handler writes."""
        return _columns(self.returned.columns) if self.returned.columns else ()


def read_handler(function: Callable[[Any, Any], Awaitable[Any]], chunk: int) -> RowHandler:
    """Read the signature of `function`. One that takes a list gets up to `chunk` rows.

    Raises `TypeError` when the signature names neither columns nor events, and `ValueError` for an empty chunk.
    """
    hints, name = typing.get_type_hints(function), function.__qualname__
    entered = hints.get(next(iter(inspect.signature(function).parameters), ""))
    takes_many = typing.get_origin(entered) in (list, Sequence)
    row = named_tuple(typing.get_args(entered)[0] if takes_many else entered)
    if row is None:
        raise TypeError(f"the first parameter of {name} must be annotated with a NamedTuple of columns, or a list")
    returned = Returned.from_annotation(hints.get("return", object), name, of_many=takes_many)
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} must be an async function")
    if chunk < 1:
        raise ValueError(f"a chunk of {chunk} rows is empty")
    return RowHandler(function, row, returned, chunk if takes_many else None)


def _columns(kind: type[tuple[Any, ...]]) -> tuple[str, ...]:
    fields: tuple[str, ...] = getattr(kind, "_fields")  # noqa: B009 (mypy does not know that it has them)
    return fields
