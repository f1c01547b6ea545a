"""Rows of one batch: those that wait, and the results of those that ran, until they are written."""

from __future__ import annotations

import asyncio
import marshal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keda_jobs.batch.gate import Gate
from keda_jobs.claims.rows import ClaimedRow, CompletedRow, Failure
from keda_jobs.runtime.shutdown import Shutdown, wait_for

# A transaction costs as much as writing 300 rows does. A worker that dies repeats only the rows since the last.
PIECE_ROWS = 5000
PIECE_BYTES = 4 * 1024 * 1024
_MAX_DELAY_S = 0.25
# No row starts while more results wait: the piece that is being written, and the next one.
_MOST_PIECES = 2


@dataclass(slots=True)
class Piece:
    """Results for one transaction, of `size` bytes."""

    completed: list[CompletedRow] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    size: int = 0

    @property
    def rows(self) -> int:
        """Number of its rows."""
        return len(self.completed) + len(self.failures)

    @property
    def is_full(self) -> bool:
        """True when it should be written at once."""
        return self.rows >= PIECE_ROWS or self.size >= PIECE_BYTES


class BatchRows:
    """Rows of one batch, shared by the tasks that run them and the one that writes their results.

    While `may_write` returns False no row starts. `running_out` is set once no more than `few` rows wait.
    """

    def __init__(
        self,
        claimed: Sequence[ClaimedRow],
        gate: Gate,
        *,
        may_write: Callable[[], bool] = lambda: True,
        few: int = 0,
    ) -> None:
        self.waiting = deque(claimed)
        self.completed: list[CompletedRow] = []
        self.failures: list[Failure] = []
        self.look_after = 1
        """Number of `completed` rows at which `look` is due."""
        self.running_out = asyncio.Event()
        self.claimed = len(claimed)
        self._gate = gate
        self._may_write = may_write
        self._few = few
        self._pieces: deque[Piece] = deque()
        self._ran = 0
        self._unwritten_rows = 0
        self._unwritten_bytes = 0
        self._closed = False
        self._ready = asyncio.Event()
        self._chunk_sizes: dict[int, int] = {}

    @property
    def in_flight(self) -> int:
        """Number of rows that a handler works on."""
        return self.claimed - len(self.waiting) - self._ran - len(self.completed) - len(self.failures)

    @property
    def may_start(self) -> bool:
        """True while results can be written and not too many wait for it."""
        has_room = (
            self._unwritten_rows < _MOST_PIECES * PIECE_ROWS and self._unwritten_bytes < _MOST_PIECES * PIECE_BYTES
        )
        return has_room and self._may_write()

    async def wait_to_start(self, shutdown: Shutdown) -> None:
        """Wait until a row may start. A shutdown ends the wait."""
        while not self.may_start and not shutdown.requested:
            await self._gate.wait()

    def wake(self) -> None:
        """Let rows that wait to start look again."""
        self._gate.changed()

    def take_chunk(self, most: int) -> list[ClaimedRow]:
        """Take the next `most` rows, or as few as they were split into."""
        size = self._chunk_sizes.get(self.waiting[0].key)
        chunk: list[ClaimedRow] = []
        while self.waiting and len(chunk) < (size or most) and self._chunk_sizes.get(self.waiting[0].key) == size:
            chunk.append(self.waiting.popleft())
        return chunk

    def split(self, chunk: Sequence[ClaimedRow]) -> None:
        """Put a chunk back, to be taken in halves."""
        self._chunk_sizes.update((row.key, (len(chunk) + 1) // 2) for row in chunk)
        self.waiting.extendleft(reversed(chunk))

    def look(self) -> None:
        """Sort new results into pieces, and wake the writer and the next claim if it is time."""
        if self.completed or self.failures:
            completed, failures = self.completed, self.failures
            self.completed, self.failures = [], []
            self._add(completed, failures)
        if self._pieces and self._pieces[0].is_full:
            self._ready.set()
        if len(self.waiting) <= self._few:
            self.running_out.set()

    def close(self) -> None:
        """Note that no further row runs. An answer that ended the batch lets rows of others start."""
        self.look()
        self._closed = True
        self._ready.set()
        self.running_out.set()
        self.wake()

    async def next_piece(self) -> Piece | None:
        """Wait until a piece is full, at most a quarter of a second after its first result. None after the last."""
        while True:
            if not self._closed:
                await wait_for(self._ready, _MAX_DELAY_S)
                self._ready.clear()
                self.look()
            if self._pieces:
                return self._pieces.popleft()
            if self._closed:
                return None

    def written(self, piece: Piece) -> None:
        """Make room for as many results as were written."""
        self._unwritten_rows -= piece.rows
        self._unwritten_bytes -= piece.size
        self._gate.changed()

    def _add(self, completed: list[CompletedRow], failures: list[Failure]) -> None:
        number, size = len(completed) + len(failures), _size_of(completed)
        if number > 1 and (size > PIECE_BYTES or number > PIECE_ROWS):
            half, half_failures = (len(completed) + 1) // 2, len(failures) // 2
            self._add(completed[:half], failures[:half_failures])
            self._add(completed[half:], failures[half_failures:])
            return
        if completed:
            # As many as fit into a piece, but the next results may be larger.
            fitting = PIECE_BYTES * len(completed) // (size + 1)
            self.look_after = max(1, min(2 * self.look_after, fitting, PIECE_ROWS))
        if not self._pieces or self._pieces[-1].is_full:
            self._pieces.append(Piece())
        piece = self._pieces[-1]
        piece.completed += completed
        piece.failures += failures
        piece.size += size
        self._ran += number
        self._unwritten_rows += number
        self._unwritten_bytes += size


def _size_of(completed: Sequence[CompletedRow]) -> int:
    columns = zip(*(row.values for row in completed), strict=True)
    in_events = sum(len(event.data) for row in completed for event in row.events)
    try:
        return in_events + sum(map(_bytes, columns))
    except RecursionError:  # a value that contains itself, which PostgreSQL will not get
        return in_events


def _bytes(value: Any) -> int:
    """Return about as many bytes as `value` has in a statement."""
    try:
        # A tenth of the time of `getsizeof`. From version 3 on it counts repeated values once.
        return len(marshal.dumps(value, 2))
    except ValueError:
        pass
    if isinstance(value, dict):
        value = (*value, *value.values())
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else sys.getsizeof(value)
