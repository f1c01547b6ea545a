"""Seconds that a batch takes where the table refuses some of its rows, and where it refuses none."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from databases import Databases
from results import Bound, Comparison
from running import Bench, started

from keda_jobs.batch.batch_rows import PIECE_ROWS
from keda_jobs.claims import ClaimQueue
from keda_jobs.claims.rows import Batch, ClaimedRow, CompletedRow
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import open_pool
from keda_jobs.settings import PgSettings
from stack import PostgresServer, StackError
from users_batch.job import JOB

_Step: TypeAlias = Callable[[Collection[int]], Awaitable[float]]

_USERS = 1_000_000
_ROWS = 20_000
_DATABASE = "empty"

_INSERT = """
INSERT INTO users (batch_status, name, email)
SELECT '{status}', 'Ada Lovelace ' || n, CASE WHEN n = ANY('{{{refused}}}') THEN 'none' ELSE 'ada.' || n END
FROM generate_series(1, {rows}) AS n"""
# One constraint refuses results, the other one claims.
_REFUSE = """
CREATE TYPE country AS ENUM ('DE', 'FR', 'none');
ALTER TABLE users ALTER country TYPE country USING country::country;
ALTER TABLE users ADD CHECK (country <> 'none'), ADD CHECK (batch_status <> 'processing' OR email <> 'none')"""
# Added last: each row that is written costs a look into another table.
_REFER = """
CREATE TABLE countries (code country PRIMARY KEY);
INSERT INTO countries VALUES ('DE');
ALTER TABLE users ADD FOREIGN KEY (country) REFERENCES countries"""
# Countries that are refused, by who refuses them.
_TABLE, _SERVER, _DRIVER, _OTHER_TABLE = "none", "no label", 7, "FR"

# Which rows are refused, by their numbers, and how many times as long the results of all may take. The aim is 3 times
# for one in a hundred. The bound is 4, because a batch without refused rows takes 120 ms in one round and 165 in the
# next. Claims may take half as long again: one without refused rows is a single statement.
_LOADS: dict[str, tuple[Collection[int], float]] = {
    "0.1 %": (range(500, _ROWS, 1000), 4),
    "1 %": (range(50, _ROWS, 100), 4),
    "1 % in a row": (range(7001, 7001 + _ROWS // 100), 4),
    "10 %": (range(5, _ROWS, 10), 6),
    "10 % in a row": (range(7001, 7001 + _ROWS // 10), 6),
    "all": (range(1, _ROWS + 1), 30),
}
_SOME_LOADS = ("1 %", "10 %")


async def measure(bench: Bench) -> list[Comparison]:
    """Measure the seconds. Raises `StackError`, `JobError`."""
    async with started(PostgresServer(bench.folder)) as server:
        databases = Databases(server)
        await databases.make_empty()
        bench.say(f"refused: inserting {_USERS:,} users")
        users = _INSERT.format(status="completed", refused="", rows=_USERS)
        await databases.run(_DATABASE, users, _REFUSE, "VACUUM ANALYZE users", "CHECKPOINT")
        settings = PgSettings.model_validate({"pg_dsn": databases.dsn(_DATABASE, "users_worker")})
        async with open_pool(settings, name="bench", connections=2, call_s=60) as pool:
            queue = await ClaimQueue.bind(
                pool, JOB.table, pod_name="bench", lease_s=600, call_s=60, policy=RetryPolicy(1, 60)
            )
            steps = _Steps(queue, databases)
            kinds: dict[str, tuple[_Step, Iterable[str], float]] = {
                "settle a batch": (steps.settle, _LOADS, 1.0),
                "settle values that the server cannot read": (partial(steps.settle, country=_SERVER), _SOME_LOADS, 1.0),
                "settle values that the driver cannot encode": (
                    partial(steps.settle, country=_DRIVER), _SOME_LOADS, 1.0
                ),
                "claim a batch": (steps.claim, _LOADS, 1.5),
            }  # fmt: skip
            comparisons = [
                await _measure(bench, f"{kind}, {load} refused", step, *_LOADS[load], factor)
                for kind, (step, loads, factor) in kinds.items()
                for load in loads
            ]
            await databases.run(_DATABASE, _REFER)
            kind, step = "settle a batch with a foreign key", partial(steps.settle, country=_OTHER_TABLE)
            return comparisons + [
                await _measure(bench, f"{kind}, {load} refused", step, *_LOADS[load], 1.0) for load in _LOADS
            ]


async def _measure(
    bench: Bench, title: str, step: _Step, refused: Collection[int], most: float, factor: float
) -> Comparison:
    some, none = "with refused rows", "without"
    turns = {some: lambda: step(refused), none: lambda: step(())}
    milliseconds = await bench.in_turns(title, turns)
    note = f"{title}: {len(refused):,} of {_ROWS:,} rows, in a table of {_USERS:,}."
    return Comparison(title, "ms", milliseconds, {none: Bound(most=most * factor)}, note)


@dataclass(frozen=True, slots=True)
class _Steps:
    """Steps of a worker, each measured in milliseconds with rows of its own."""

    queue: ClaimQueue
    databases: Databases

    async def claim(self, refused: Collection[int]) -> float:
        """Claim rows of which some are refused."""
        await self._insert(refused)
        began = time.perf_counter()
        batches = await self._claim_all()
        milliseconds = (time.perf_counter() - began) * 1000
        for batch in batches:
            await self._settle(batch, ())
        self._check(sum(len(batch.rows) for batch in batches), refused)
        return milliseconds

    async def settle(self, refused: Collection[int], country: object = _TABLE) -> float:
        """Write the results of rows of which some have a refused country, in the pieces of a worker."""
        await self._insert(())
        [batch] = await self._claim_all()
        began = time.perf_counter()
        completed = await self._settle(batch, refused, country)
        milliseconds = (time.perf_counter() - began) * 1000
        self._check(completed, refused)
        return milliseconds

    async def _insert(self, refused: Collection[int]) -> None:
        numbers = ",".join(map(str, refused))
        await self.databases.run(_DATABASE, _INSERT.format(status="pending", refused=numbers, rows=_ROWS))

    async def _claim_all(self) -> list[Batch]:
        batches: list[Batch] = []
        while (batch := await self.queue.claim(_ROWS)) is not None:
            batches.append(batch)
        return batches

    async def _settle(self, batch: Batch, refused: Collection[int], country: object = "DE") -> int:
        """Return the number of completed rows."""
        countries = [country if number in refused else "DE" for number in range(1, len(batch.rows) + 1)]
        results = [_result(row, country) for row, country in zip(batch.rows, countries, strict=True)]
        completed = 0
        for first in range(0, len(results), PIECE_ROWS):
            completed += (await self.queue.settle(batch, results[first : first + PIECE_ROWS], ())).completed
        return completed

    def _check(self, completed: int, refused: Collection[int]) -> None:
        if completed != _ROWS - len(refused):
            raise StackError(f"refused: {completed:,} rows are completed, not {_ROWS - len(refused):,}")


def _result(row: ClaimedRow, country: object) -> CompletedRow:
    return CompletedRow(row, ("Ada Lovelace", f"ada.{row.key}@example.org", "example.org", country))
