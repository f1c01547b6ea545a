"""Rows per second of the workers, of the plain design and of two general job queues."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg
from batch_databases import Databases
from batch_plain import INDEX, PLAIN
from bounds import TO_PLAIN_DESIGN
from results import Baseline, Comparison
from scripts import HERE, Script, run_together
from turns import in_turn

from stack import StackError, until

_CLAIM_SIZE = 20_000
_DEADLINE_S = 180.0

_OURS, _ONE = "users-batch, 2 processes", "users-batch, 1 process"
_INDEXED = "users-batch, 2, and idx_users_batch_status_id"
_PLAIN, _PLAIN_TWO = "plain design", "plain design, 2 sessions"
_PGQUEUER, _PROCRASTINATE = "PgQueuer, 2 processes", "Procrastinate, 2 processes"

# Contestants whose share of HOT updates the note gives.
_HOT = {_OURS: "with users-batch", _INDEXED: "with people's own index on batch_status beside it", _PLAIN: "plain"}

_JOBS = {"pgqueuer": 20_000, "procrastinate": 5_000}
_PREPARED = ("VACUUM ANALYZE users", "CHECKPOINT")

# From the first claim to the last completion on the server's clock: the start of Python does not count.
_BATCHES_S = "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM batch_jobs"
_PGQUEUER_S = """
SELECT extract(epoch FROM max(created) - min(created))::float8 FROM pgqueuer_log WHERE status <> 'queued'"""
_PROCRASTINATE_S = """
SELECT extract(epoch FROM max(at) - min(at))::float8 FROM procrastinate_events WHERE type <> 'deferred'"""

_ENDED = "SELECT count(*) FROM users WHERE batch_status IN ('completed', 'failed')"
_UPDATES = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'users'"

Work = Callable[[str], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Way to process `rows` users of a copy of `template`. `work` returns the seconds it took."""

    name: str
    template: str
    rows: int
    work: Work
    prepare: Sequence[str] = ()
    updates: int = 2
    """Number of writes to a row."""


class Processing:
    """Contestants on one server. `hot` is the share of HOT updates in the last turn of each."""

    def __init__(self, databases: Databases, folder: Path, rows: int) -> None:
        self._databases = databases
        self._folder = folder
        self._rows = rows
        self.hot: dict[str, float] = {}

    async def make_templates(self) -> None:
        """Create databases with a job for each of the first users."""
        for name, jobs in _JOBS.items():
            await self._databases.copy("bare", name)
            arguments = [self._databases.dsn(name), str(jobs)]
            await run_together([self._app(name, *arguments)], _DEADLINE_S)
            await self._databases.run(name, "VACUUM ANALYZE")

    def contestants(self) -> list[Contestant]:
        """Return all contestants, ours first."""
        rows = self._rows
        return [
            Contestant(_OURS, "loaded", rows, partial(self._by_workers, 2)),
            Contestant(_PLAIN, "bare", rows, partial(self._in_server, 1), (*PLAIN, *_PREPARED)),
            Contestant(_PLAIN_TWO, "bare", rows, partial(self._in_server, 2), (*PLAIN, *_PREPARED)),
            Contestant(_ONE, "loaded", rows, partial(self._by_workers, 1)),
            Contestant(_INDEXED, "loaded", rows, partial(self._by_workers, 2), (INDEX, *_PREPARED)),
            self._job_queue(_PGQUEUER, "pgqueuer", _PGQUEUER_S),
            self._job_queue(_PROCRASTINATE, "procrastinate", _PROCRASTINATE_S),
        ]

    async def rate(self, contestant: Contestant) -> float:
        """Return the rows per second of one turn. Raises `StackError` unless every row was processed."""
        async with self._databases.fresh(contestant.template) as database:
            await self._databases.run(database, *contestant.prepare)
            seconds = await contestant.work(database)
            (ended,) = await self._databases.row(database, _ENDED)
            if ended != contestant.rows:
                raise StackError(f"process: {contestant.name} processed {ended:,} of {contestant.rows:,} rows")
            self.hot[contestant.name] = await self._hot_share(database, contestant)
        return contestant.rows / seconds

    async def _hot_share(self, database: str, contestant: Contestant) -> float:
        async def share() -> tuple[float] | None:
            updates, hot = await self._databases.row(database, _UPDATES)
            # A session reports its counts when it ends or a moment later.
            return (hot / updates,) if updates >= contestant.updates * contestant.rows else None

        (found,) = await until(share)
        return float(found)

    def _job_queue(self, name: str, template: str, seconds: str) -> Contestant:
        work = partial(self._by_apps, template, seconds)
        return Contestant(name, template, _JOBS[template], work, updates=1)

    async def _by_workers(self, processes: int, database: str) -> float:
        environment = {"PG_DSN": self._databases.dsn(database, "users_worker"), "HTTP_PORT": "0"}
        workers = [
            Script("users-batch", ["-m", "users_batch"], self._folder / f"worker-{number}.log", environment)
            for number in range(processes)
        ]
        return await self._measured(database, workers, _BATCHES_S)

    async def _by_apps(self, name: str, seconds: str, database: str) -> float:
        workers = [self._app(name, self._databases.dsn(database), number=number) for number in range(2)]
        return await self._measured(database, workers, seconds)

    async def _measured(self, database: str, workers: Sequence[Script], seconds: str) -> float:
        await run_together(workers, _DEADLINE_S)
        (taken,) = await self._databases.row(database, seconds)
        return float(taken)

    async def _in_server(self, sessions: int, database: str) -> float:
        connections = [await asyncpg.connect(self._databases.dsn(database)) for _ in range(sessions)]
        began = time.perf_counter()
        await asyncio.gather(*(connection.execute(f"CALL process_all({_CLAIM_SIZE})") for connection in connections))
        seconds = time.perf_counter() - began
        for connection in connections:
            await connection.close()
        return seconds

    def _app(self, name: str, *arguments: str, number: int = 0) -> Script:
        return Script(name, [str(HERE / f"{name}_app.py"), *arguments], self._folder / f"{name}-{number}.log")


async def measure_process(
    databases: Databases, folder: Path, rows: int, rounds: int, say: Callable[[str], None]
) -> Comparison:
    """Measure how fast `rows` users are processed. Raises `StackError`."""
    processing = Processing(databases, folder, rows)
    say("process: making the tables of the job queues")
    await processing.make_templates()
    contestants = processing.contestants()
    turns = {contestant.name: partial(processing.rate, contestant) for contestant in contestants}
    series = await in_turn("process", turns, rounds, say)
    bounds = {_PLAIN: TO_PLAIN_DESIGN}
    baselines = [Baseline(series[name], bounds.get(name)) for name in turns if name != _OURS]
    return Comparison("process", "rows/s", series[_OURS], baselines, note=note(rows, processing.hot))


def note(rows: int, hot: Mapping[str, float]) -> str:
    """Explain the figures."""
    shares = ", ".join(f"{hot[name]:.0%} {words}" for name, words in _HOT.items())
    return (
        f"{rows:,} users in a fresh copy of the same database for each turn, from the first claim to the last "
        "completion. The server is the local stack's, with shared_buffers 256MB, fsync and full_page_writes off. "
        "users-batch: the real handler, default settings. Plain design: both updates find their rows with a "
        f"partial index on (batch_status, id), a commit every 20,000, all in the server. HOT updates: {shares}. "
        f"PgQueuer ({_JOBS['pgqueuer']:,} jobs): asyncpg, uvloop, batch_size 100, `pgq autovac`. "
        f"Procrastinate ({_JOBS['procrastinate']:,} jobs): concurrency 30, a pool of 10. Both: a job for each user, "
        "the same handler between a SELECT and an UPDATE by key, a pool of 10 asyncpg connections. "
        "Enqueuing does not count."
    )
