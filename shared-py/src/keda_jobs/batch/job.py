"""Batch jobs as their author declares them: the columns come from the handler's signature."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic

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
    """Batch job: `handler` runs for each row of `table`.

    `row` and `result` are the NamedTuples of the handler's signature: their fields are the columns it reads and
    writes. `result` is None for a handler that writes none.
    """

    kind: ClassVar[str] = "batch"
    ends: ClassVar[bool] = True

    settings: type[BatchSettings]
    table: ClaimTable
    handler: RowHandler
    row: type[tuple[Any, ...]]
    result: type[tuple[Any, ...]] | None
    resources: Resources | None = None

    async def main(self, process: Process[Any]) -> None:
        """Claim and run rows until none is claimable or a shutdown is requested."""
        from keda_jobs.batch.main import work

        await work(self, process)


def batch_job(
    handler: Callable[[Row, BatchContext[S, R]], Awaitable[Result]],
    settings: type[S],
    *,
    table: str,
    key: str = "id",
    resources: Callable[[S], AbstractAsyncContextManager[R]] | None = None,
) -> BatchJob:
    """Declare the job of `handler(row, context)`, an async function from a NamedTuple of columns to one, or to None.

    `key` is the table's integer key. `resources` opens, from the settings, an async context manager for as long as a
    worker runs. Its value is `BatchContext.resources`. Raises `TypeError` when the handler's signature does not name
    the columns.
    """
    hints = typing.get_type_hints(handler)
    row = _named_tuple(hints.get(next(iter(inspect.signature(handler).parameters), "")))
    result = _named_tuple(hints.get("return"))
    if row is None:
        raise TypeError(f"the first parameter of {handler.__qualname__} must be annotated with a NamedTuple of columns")
    if result is None and hints.get("return") is not type(None):
        raise TypeError(f"{handler.__qualname__} must be annotated to return a NamedTuple of columns, or None")
    claim_table = ClaimTable(job_name(handler), table, key, _columns(row), _columns(result) if result else ())
    if not inspect.iscoroutinefunction(handler):
        raise TypeError(f"{handler.__qualname__} must be an async function")
    return BatchJob(claim_table.batch_name, settings, claim_table, handler, row, result, resources)


def _named_tuple(kind: object) -> type[tuple[Any, ...]] | None:
    return kind if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields") else None


def _columns(kind: type[tuple[Any, ...]]) -> tuple[str, ...]:
    fields: tuple[str, ...] = getattr(kind, "_fields")  # noqa: B009 (mypy does not know that it has them)
    return fields
