"""Runner of a handler that takes many rows at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from keda_jobs.batch.batch_rows import BatchRows
from keda_jobs.batch.handler import BatchContext, RowHandler
from keda_jobs.batch.row_runner import MAX_EVENT_BYTES, RowRunner, Slot
from keda_jobs.claims.rows import ClaimedRow
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.errors import PlatformError
from keda_jobs.runtime.shutdown import Shutdown


class ChunkRunner(RowRunner):
    """Runner of the handler on chunks of up to `chunk` rows. A chunk that fails as a whole runs again in halves."""

    async def run(self, rows: BatchRows, slot: Slot) -> None:
        """Run chunks of waiting rows in `slot` until there are none or a shutdown is requested."""
        while rows.waiting and not self._shutdown.requested:
            await self._pause(rows, slot)
            if not rows.waiting or self._shutdown.requested:
                continue
            chunk = rows.take_chunk(self._chunk)
            slot.rows, slot.began_at = chunk, time.monotonic()
            try:
                results = await self._handler([tuple.__new__(self._row, row.values) for row in chunk], self._context)
                _check_length(results, chunk)
            except BaseException as error:
                await self._handle_error(error, rows, slot)
            else:
                if slot.cancelled_at is not None:
                    slot.end_cancellation()
                    continue
                slot.rows = ()
                await self._record(rows, chunk, results)
        slot.rows = ()

    def fail(self, rows: BatchRows, claimed: Sequence[ClaimedRow], error: Exception) -> None:
        """Record the failure of a single row. More are tried again in halves, because the others may be fine."""
        if len(claimed) == 1:
            super().fail(rows, claimed, error)
        else:
            rows.split(claimed)

    async def _record(self, rows: BatchRows, chunk: Sequence[ClaimedRow], results: Sequence[object]) -> None:
        """Record the result of each row."""
        unavailable: PlatformError | None = None
        for row, result in zip(chunk, results, strict=True):
            match result:
                case PlatformError():
                    unavailable = result
                    rows.waiting.appendleft(row)
                case BaseException():
                    super().fail(rows, [row], self._note_failure(result))
                case _:
                    self._record_result(rows, row, result)
        if unavailable is not None:
            await self._back_off(unavailable)
        elif self.backoff.active:
            self.backoff.reset()

    def _record_result(self, rows: BatchRows, row: ClaimedRow, result: object) -> None:
        try:
            rows.completed.append(self._read(row, result))
        except Exception as error:
            super().fail(rows, [row], self._note_failure(error))


def _check_length(results: Any, chunk: Sequence[ClaimedRow]) -> None:
    if not isinstance(results, Sequence):
        raise TypeError(f"the handler returned {type(results).__name__}, not a list")
    if len(results) != len(chunk):
        raise TypeError(f"the handler returned {len(results)} results for {len(chunk)} rows")


def make_runner(
    handler: RowHandler,
    context: BatchContext[Any, Any],
    policy: RetryPolicy,
    shutdown: Shutdown,
    max_bytes: int = MAX_EVENT_BYTES,
) -> RowRunner:
    """Make the runner that fits `handler`. An event of a row has at most `max_bytes` bytes."""
    kind = ChunkRunner if handler.chunk else RowRunner
    return kind(handler, context, policy, shutdown, max_bytes)
