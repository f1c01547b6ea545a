"""Batch jobs as their author declares them: the columns come from the handler's signature."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, overload

from typing_extensions import TypeVar

from keda_jobs.batch.handler import BatchContext, RowHandler, read_handler
from keda_jobs.claims.table import ClaimTable
from keda_jobs.domain.emitted import Emitted, Outputs
from keda_jobs.runtime.job import Job, Resources, job_name
from keda_jobs.runtime.process import Process
from keda_jobs.settings import BatchSettings, NatsSettings

Row = TypeVar("Row", bound=tuple[Any, ...])
Result = TypeVar("Result", bound=tuple[Any, ...] | Emitted)
S = TypeVar("S", bound=BatchSettings, default=BatchSettings)
R = TypeVar("R", default=None)


@dataclass(frozen=True, slots=True)
class BatchJob(Job):
    """Batch job: `handler` runs for the rows of `table`."""

    kind: ClassVar[str] = "batch"
    ends: ClassVar[bool] = True

    settings: type[BatchSettings]
    table: ClaimTable
    handler: RowHandler
    resources: Resources | None = None

    @property
    def outputs(self) -> Outputs:
        """Events that the handler's return annotation names."""
        return self.handler.returned.outputs

    async def main(self, process: Process[Any]) -> None:
        """Claim and run rows until none is claimable or a shutdown is requested."""
        from keda_jobs.batch.main import work

        await work(process, self.table, self.handler, self.resources)


@overload
def batch_job(
    handler: Callable[[Row, BatchContext[S, R]], Awaitable[Result]],
    settings: type[S],
    *,
    table: str,
    schema: str | None = None,
    key: str = "id",
    delete_completed: bool = False,
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
    delete_completed: bool = False,
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
    delete_completed: bool = False,
    chunk: int = 100,
    resources: Callable[[S], AbstractAsyncContextManager[R]] | None = None,
) -> BatchJob:
    """Declare the job of `handler(row, context)`, an async function from a NamedTuple of columns to one, or to None.

    It may return events too, or a tuple of columns and events. They are published before the row is completed, and need
    settings that inherit `NatsSettings`.

    A handler of `list[Row]` gets up to `chunk` rows at once. It returns a list of as many results in their order. One
    that is an exception is the failure of that row only.

    Names are exact, `table="Order Lines"`. `key` is the table's integer key. Declare the `schema` of a table whose
    name other schemas have too. With `delete_completed` the transaction that completes a row deletes it.

    `resources` opens, from the settings, an async context manager for as long as a worker runs. Its value is
    `BatchContext.resources`. Raises `TypeError` when the signature names neither columns nor events, or the settings
    lack NATS.
    """
    rows = read_handler(handler, chunk)
    if rows.returned.outputs.events and not issubclass(settings, NatsSettings):
        raise TypeError(f"{handler.__qualname__} sends events: let {settings.__name__} inherit NatsSettings too")
    claim_table = ClaimTable(
        job_name(handler), table, key, rows.reads, rows.writes, schema, deletes_completed=delete_completed
    )
    return BatchJob(claim_table.batch_name, settings, claim_table, rows, resources)
