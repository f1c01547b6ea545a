"""Rows of a batch and their results: when rows may start, and the pieces in which results are written."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.batch.batch_rows import PIECE_ROWS, BatchRows, Piece
from keda_jobs.batch.gate import Gate
from keda_jobs.claims.rows import ClaimedRow, CompletedRow, Failure
from keda_jobs.runtime.shutdown import Shutdown

FAILURE = Failure(2, "no", None)


def batch_rows(number: int = 0, **options: Any) -> BatchRows:
    return BatchRows([claimed(key) for key in range(number)], Gate(), **options)


def claimed(key: int) -> ClaimedRow:
    return ClaimedRow(key, 0, (key,))


def completed(key: int, *values: object) -> CompletedRow:
    return CompletedRow(claimed(key), values)


async def all_pieces(rows: BatchRows) -> list[Piece]:
    rows.close()
    pieces = []
    while (piece := await rows.next_piece()) is not None:
        pieces.append(piece)
    return pieces


async def test_results_are_written_a_moment_after_they_came() -> None:
    rows = batch_rows()
    rows.completed.append(completed(1))
    rows.failures.append(FAILURE)
    piece = await rows.next_piece()
    assert piece is not None
    assert (piece.completed, piece.failures) == ([completed(1)], [FAILURE])


async def test_a_full_piece_is_written_at_once() -> None:
    rows = batch_rows()
    writing = asyncio.create_task(rows.next_piece())
    await asyncio.sleep(0)
    rows.completed += [completed(1)] * PIECE_ROWS
    rows.look()
    piece = await asyncio.wait_for(writing, 10)
    assert piece is not None
    assert piece.rows == PIECE_ROWS


async def test_after_the_end_the_rest_is_written_and_then_nothing() -> None:
    rows = batch_rows()
    rows.completed.append(completed(1))
    assert [piece.completed for piece in await all_pieces(rows)] == [[completed(1)]]
    assert await rows.next_piece() is None


SMALL_PIECE = 4096
LENGTHS = st.integers(0, 2 * SMALL_PIECE)
VALUES = st.one_of(
    LENGTHS.map(lambda length: "x" * length),
    LENGTHS.map(lambda length: b"x" * length),
    LENGTHS.map(lambda length: {"nested": ["x" * length]}),
    st.none(),
    st.integers(),
    st.datetimes(),
)


@given(st.lists(st.tuples(VALUES, st.integers(1, 50)), max_size=12), st.lists(st.integers(0, 200), max_size=3))
def test_pieces_are_bounded_in_rows_and_bytes_whatever_the_results(
    results: list[tuple[object, int]], failing: list[int]
) -> None:
    values = [value for value, times in results for _ in range(times)]
    rows = batch_rows()
    with mock.patch.multiple("keda_jobs.batch.batch_rows", PIECE_BYTES=SMALL_PIECE, PIECE_ROWS=20):
        for number, value in enumerate(values):
            rows.completed.append(completed(number, value))
            if number in failing:  # as many as a chunk may have
                rows.failures += [FAILURE] * number
            if len(rows.completed) >= rows.look_after:
                rows.look()
        pieces = asyncio.run(all_pieces(rows))
    assert sorted(row.row.key for piece in pieces for row in piece.completed) == list(range(len(values)))
    assert sum(len(piece.failures) for piece in pieces) == sum({n for n in failing if n < len(values)})
    for piece in pieces:
        # Two parts that are no larger than a piece, or a single row.
        assert piece.rows < 2 * 20
        assert sum(map(length, piece.completed)) <= 2 * max(SMALL_PIECE, *map(length, piece.completed), 0)


def length(row: CompletedRow) -> int:
    value = row.values[0]
    if isinstance(value, dict):
        value = value["nested"][0]
    return len(value) if isinstance(value, str | bytes) else 0


@pytest.mark.parametrize(("value", "number"), [(None, 20 * PIECE_ROWS), ("x" * 100_000, 1_000), ("x" * 8_000_000, 10)])
async def test_no_row_starts_while_too_many_results_are_unwritten(value: object, number: int) -> None:
    rows, ran = batch_rows(), 0
    while rows.may_start and ran < number:
        rows.completed.append(completed(ran, value))
        ran += 1
        if len(rows.completed) >= rows.look_after:
            rows.look()
    assert ran < number
    starting = asyncio.create_task(rows.wait_to_start(Shutdown(0)))
    await asyncio.sleep(0)
    assert not starting.done()
    for piece in await all_pieces(rows):
        rows.written(piece)
    await asyncio.wait_for(starting, 10)
    assert rows.may_start


async def test_no_row_starts_while_results_cannot_be_written() -> None:
    can_write, gate, shutdown = False, Gate(), Shutdown(0)
    rows = BatchRows([claimed(1)], gate, may_write=lambda: can_write)
    waiting = [asyncio.create_task(rows.wait_to_start(shutdown)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.changed()
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    can_write = True
    gate.changed()
    await asyncio.wait_for(asyncio.gather(*waiting), 10)


async def test_a_shutdown_ends_the_wait() -> None:
    rows, shutdown = batch_rows(1, may_write=lambda: False), Shutdown(0)
    waiting = asyncio.create_task(rows.wait_to_start(shutdown))
    await asyncio.sleep(0)
    shutdown.request()
    rows.wake()
    await asyncio.wait_for(waiting, 10)


def test_it_says_when_few_rows_wait() -> None:
    rows = batch_rows(5, few=2)
    rows.look()
    assert not rows.running_out.is_set()
    assert rows.in_flight == 0
    for _ in range(3):
        rows.waiting.popleft()
    rows.look()
    assert rows.running_out.is_set()
    assert rows.in_flight == 3


def test_a_split_chunk_is_taken_in_halves_and_its_neighbours_are_not() -> None:
    rows = batch_rows(10)
    chunk = rows.take_chunk(5)
    rows.split(chunk)
    sizes = []
    while rows.waiting:
        sizes.append(len(rows.take_chunk(5)))
    assert sizes == [3, 2, 5]
