"""Batch jobs as their author declares them: the columns come from the handler's signature."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, overload

from typing_extensions import TypeVar

from keda_jobs.claims.table import ClaimTable
from keda_jobs.runtime.cpu import Cpu
from keda_jobs.runtime.job import Job, Resources, job_name
from keda_jobs.settings import BatchSettings

if TYPE_CHECKING:
    from keda_jobs.runtime.process import Process

Row = TypeVar("Row", bound=tuple[Any, ...])
Result = TypeVar("Result", bound=tuple[Any, ...] | None)
S = TypeVar("S", bound=BatchSettings, default=BatchSettings)
R = TypeVar("R", default=None)

RowHandler = Callable[[Any, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class BatchContext(Generic[S, R]):
    """Context of one worker: its settings, CPU work outside the loop, and what the job opened (see `batch_job`)."""

    settings: S
    cpu: Cpu
    resources: R


@dataclass(frozen=True, slots=True)
class BatchJob(Job):
    """Batch job: `handler` runs for each row of `table`, or for each `chunk` of rows.

    `row` and `result` are the NamedTuples of the handler's signature: their fields are the columns it reads and
    writes. `result` is None for a handler that writes none. `chunk` is None for a handler of one row.
    """

    kind: ClassVar[str] = "batch"
    ends: ClassVar[bool] = True

    settings: type[BatchSettings]
    table: ClaimTable
    handler: RowHandler
    row: type[tuple[Any, ...]]
    result: type[tuple[Any, ...]] | None
    chunk: int | None = None
    resources: Resources | None = None

    async def main(self, process: Process[Any]) -> None:
        """Claim and run rows until none is claimable or a shutdown is requested."""
        from keda_jobs.batch.main import work

        await work(self, process)


@overload
def batch_job(
    handler: Callable[[Row, BatchContext[S, R]], Awaitable[Result]],
    settings: type[S],
    *,
    table: str,
    schema: str | None = None,
    key: str = "id",
    resources: Callable[[S], AbstractAsyncContextManager[R]] | None = None,
) -> BatchJob: ...


@overload
def batch_job(
    handler: Callable[[list[Row], BatchContext[S, R]], Awaitable[Sequence[Result | Exception]]],
    settings: type[S],
    *,
    table: str,
    schema: str | None = None,
    key: str = "id",
    chunk: int = 100,
    resources: Callable[[S], AbstractAsyncContextManager[R]] | None = None,
) -> BatchJob: ...


def batch_job(
    handler: Callable[[Any, BatchContext[S, R]], Awaitable[Any]],
    settings: type[S],
    *,
    table: str,
    schema: str | None = None,
    key: str = "id",
    chunk: int = 100,
    resources: Callable[[S], AbstractAsyncContextManager[R]] | None = None,
) -> BatchJob:
    """Declare the job of `handler(row, context)`, an async function from a NamedTuple of columns to one, or to None.

    A handler of `list[Row]` gets up to `chunk` rows at once. It returns a list of as many results in their order. One
    that is an exception is the failure of that row only.

    Names are exact, `table="Order Lines"`. `key` is the table's integer key. Declare the `schema` of a table whose
    name other schemas have too. `resources` opens, from the settings, an async context manager for as long as a
    worker runs. Its value is `BatchContext.resources`. Raises `TypeError` when the handler's signature does not name
    the columns.
    """
    row, result, takes_many = _read_signature(handler)
    claim_table = ClaimTable(job_name(handler), table, key, _columns(row), _columns(result) if result else (), schema)
    if not inspect.iscoroutinefunction(handler):
        raise TypeError(f"{handler.__qualname__} must be an async function")
    if chunk < 1:
        raise ValueError(f"a chunk of {chunk} rows is empty")
    rows_at_once = chunk if takes_many else None
    return BatchJob(claim_table.batch_name, settings, claim_table, handler, row, result, rows_at_once, resources)


def _read_signature(
    handler: Callable[..., Any],
) -> tuple[type[tuple[Any, ...]], type[tuple[Any, ...]] | None, bool]:
    """Return the tuples that the handler reads and writes, and whether it takes many rows."""
    hints = typing.get_type_hints(handler)
    entered, returned = hints.get(next(iter(inspect.signature(handler).parameters), "")), hints.get("return")
    takes_many = typing.get_origin(entered) in (list, Sequence)
    row = _named_tuple(typing.get_args(entered)[0] if takes_many else entered)
    if row is None:
        raise TypeError(
            f"the first parameter of {handler.__qualname__} must be annotated with a NamedTuple of columns, or a list"
        )
    written = _kinds_in_list(returned) if takes_many else [returned]
    match [kind for kind in written if kind is not NoneType]:
        case [] if written:
            return row, None, takes_many
        case [kind] if (result := _named_tuple(kind)) and len(written) == 1:
            return row, result, takes_many
    many = ", a list of them and exceptions" if takes_many else ""
    raise TypeError(f"{handler.__qualname__} must be annotated to return a NamedTuple of columns, or None{many}")


def _kinds_in_list(hint: object) -> list[object]:
    """Return the kinds of items in a list of results, without exceptions."""
    if typing.get_origin(hint) not in (list, Sequence):
        return []
    (items,) = typing.get_args(hint)
    kinds = typing.get_args(items) if typing.get_origin(items) in (typing.Union, UnionType) else (items,)
    kinds = tuple(NoneType if kind is None else kind for kind in kinds)  # list[None] keeps the None itself
    return [kind for kind in kinds if not (isinstance(kind, type) and issubclass(kind, Exception))]


def _named_tuple(kind: object) -> type[tuple[Any, ...]] | None:
    return kind if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields") else None


def _columns(kind: type[tuple[Any, ...]]) -> tuple[str, ...]:
    fields: tuple[str, ...] = getattr(kind, "_fields")  # noqa: B009 (mypy does not know that it has them)
    return fields
