"""One attempt at a row by the handler of a batch job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from keda_jobs.domain.emitted import Later
from keda_jobs.domain.event import Event
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.errors import PlatformError
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.settings import BatchSettings
from keda_jobs.testing.defaults import default_settings, in_thread

if TYPE_CHECKING:
    from keda_jobs.claims import Failure


@dataclass(frozen=True, slots=True)
class RowResult:
    """Result of one row: the columns to write and the events to send, or why it failed.

    `written` is the handler's NamedTuple, None where it failed or writes none. `failure.delay_s` is the time until the
    next attempt, None where the row failed permanently.
    """

    written: tuple[Any, ...] | None
    failure: Failure | None
    events: list[Event | Later[Event]] = field(default_factory=list)


_CHUNK = 100


class FailOnWait(Shutdown):
    """Shutdown of a worker in a test. Where a worker would sleep, the test fails."""

    async def sleep(self, duration_s: float) -> NoReturn:
        """Raise `PlatformError`, in the context of the one that the handler raised."""
        raise PlatformError(f"a worker would wait {duration_s:.1f} s now, and then try again")


async def run_row(
    handler: Callable[[Any, Any], Awaitable[Any]],
    row: Mapping[str, Any],
    *,
    settings: BatchSettings | None = None,
    resources: Any = None,
    attempts: int = 0,
) -> RowResult:
    """Run `handler` once on `row`, as a worker would after `attempts` failed attempts.

    Raises `PlatformError` where a worker would wait, and `TypeError` for columns that are not the handler's.
    """
    [result] = await run_rows(handler, [row], settings=settings, resources=resources, attempts=attempts)
    return result


async def run_rows(
    handler: Callable[[Any, Any], Awaitable[Any]],
    rows: Sequence[Mapping[str, Any]],
    *,
    settings: BatchSettings | None = None,
    resources: Any = None,
    attempts: int = 0,
) -> list[RowResult]:
    """Run `handler` on `rows`, in chunks if it takes many, and return their results in order. Raises as `run_row`."""
    # An event job and its tests need no PostgreSQL driver.
    from keda_jobs.batch.batch_rows import BatchRows
    from keda_jobs.batch.chunk_runner import make_runner
    from keda_jobs.batch.gate import Gate
    from keda_jobs.batch.handler import BatchContext, read_handler
    from keda_jobs.batch.row_runner import Slot
    from keda_jobs.claims.rows import ClaimedRow

    settings = settings or default_settings(handler, BatchSettings)
    tested = read_handler(handler, _CHUNK)
    policy = RetryPolicy(settings.max_attempts, settings.retry_step_s)
    runner = make_runner(tested, BatchContext(settings, in_thread, resources), policy, FailOnWait(0))
    claimed = BatchRows([ClaimedRow(key, attempts, tested.row(**row)) for key, row in enumerate(rows, 1)], Gate())
    await runner.run(claimed, Slot())
    claimed.close()
    results: dict[int, RowResult] = {}
    while (piece := await claimed.next_piece()) is not None:
        for done in piece.completed:
            results[done.row.key] = RowResult(done.values or None, None, [event.returned for event in done.events])
        results.update((failure.key, RowResult(None, failure)) for failure in piece.failures)
    return [results[key] for key in range(1, len(rows) + 1)]
