"""Which of the waiting ranges a claim takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keda_jobs.claims.statements import Statements
from keda_jobs.postgres import Connection

# A claim reads every row between the ends of its ranges, three million a second at best. After a few rounds of
# retries the rows of a range lie thousands apart, and CLAIM_SIZE of them would take minutes.
_MOST_KEYS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Range:
    range_id: int
    lo: int
    hi: int
    claimable: int
    batch_status: str
    next_attempt_at: datetime
    from_batch: int | None
    is_suspect: bool


async def pick(connection: Connection, sql: Statements, most: int) -> list[int]:
    """The ids of ranges of `most` rows in all: locked, the first that are free, the last one split if too long."""
    await connection.execute(sql.open_waiting)
    picked: list[int] = []
    wanted, keys, step = most, _MOST_KEYS, 1
    while True:
        ranges = [_Range(*record) for record in await connection.fetch(f"FETCH {step} FROM waiting")]
        for found in ranges:
            if wanted <= 0 or keys <= 0 or (picked and found.is_suspect):
                return picked
            picked.append(await _cut(connection, sql, found, wanted))
            wanted -= found.claimable
            keys -= found.hi - found.lo + 1
            if found.is_suspect:
                return picked
        if len(ranges) < step or wanted <= 0 or keys <= 0:
            return picked
        # As many as the ranges so far let expect: ranges of one row take one more fetch, not thousands, and hardly
        # a range is locked that is not held.
        step = max(1, wanted * len(picked) // (most - wanted))


async def _cut(connection: Connection, sql: Statements, found: _Range, wanted: int) -> int:
    if found.claimable <= wanted:
        return found.range_id
    last = await connection.fetchval(
        sql.cut, found.lo, found.hi, found.batch_status, found.next_attempt_at, found.from_batch, wanted
    )
    if last is None or last == found.hi:  # rows of it were deleted
        return found.range_id
    split_off = int(await connection.fetchval(sql.split_off, found.range_id, last, wanted))
    await connection.execute(sql.shorten, found.range_id, last + 1, wanted)
    return split_off
