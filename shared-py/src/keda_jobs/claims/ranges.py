"""Selection of the waiting ranges that a claim takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from keda_jobs.claims.statements import Statements
from keda_jobs.postgres import Connection

# More ranges than this in one claim are merged first.
_MANY = 1000


@dataclass(frozen=True, slots=True)
class _Range:
    range_id: int
    hi: int
    claimable: int
    due: int
    is_suspect: bool
    is_list: bool


@dataclass(slots=True)
class Selection:
    """Ranges to claim. A suspect range is alone."""

    range_ids: list[int] = field(default_factory=list)
    is_suspect: bool = False


async def select_ranges(connection: Connection, sql: Statements, most: int, *, suspects: bool = True) -> Selection:
    """Lock the first free ranges of up to `most` rows in all, splitting the last.

    Without `suspects` the selection ends before the first suspect range.
    """
    selection = await _select_ranges(connection, sql, most, _MANY, suspects=suspects)
    if selection is None:
        await connection.execute(sql.ranges.close_waiting)
        await connection.execute(sql.ranges.merge, most)
        selection = await _select_ranges(connection, sql, most, most, suspects=suspects)
    return selection or Selection()


async def _select_ranges(
    connection: Connection, sql: Statements, most: int, many: int, *, suspects: bool
) -> Selection | None:
    """Select ranges. Return None where they are expected to be more than `many`."""
    await connection.execute(sql.ranges.open_waiting)
    selection = Selection()
    selected = selection.range_ids
    rows, step = most, 1
    while True:
        ranges = [_Range(*record) for record in await connection.fetch(f"FETCH {step} FROM waiting")]
        for waiting in ranges:
            if rows <= 0 or (waiting.is_suspect and (selected or not suspects)):
                return selection
            selected.append(await _split_range(connection, sql, waiting, rows))
            rows -= waiting.due
            if waiting.is_suspect:
                selection.is_suspect = True
                return selection
        if len(ranges) < step or rows <= 0:
            return selection
        # The number of ranges expected to hold the rest, by the size of those so far. Ranges of one row take one more
        # fetch instead of thousands, and few ranges are locked without being taken.
        step = max(1, rows * len(selected) // (most - rows))
        if step > many:
            return None


async def _split_range(connection: Connection, sql: Statements, waiting: _Range, rows: int) -> int:
    """Split the rows to take, the first `rows` that are due, off a longer range. Return the id of the range to take."""
    rows = min(rows, waiting.due)
    if waiting.claimable <= rows:
        return waiting.range_id
    if waiting.is_list:
        split_off = int(await connection.fetchval(sql.ranges.split_list, waiting.range_id, rows))
        await connection.execute(sql.ranges.shorten_list, waiting.range_id, rows)
        return split_off
    last = await connection.fetchval(sql.ranges.split_key, waiting.range_id, rows)
    if last is None or last == waiting.hi:  # some of its rows were deleted
        return waiting.range_id
    split_off = int(await connection.fetchval(sql.ranges.split_off, waiting.range_id, last, rows))
    await connection.execute(sql.ranges.shorten, waiting.range_id, last + 1, rows)
    return split_off
