"""Rows per second of the workers, of the plain design and of two general job queues."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from databases import Databases
from results import Bound, Comparison
from running import HERE, Bench, run_together

from stack import StackError, until

_CLAIM_SIZE = 20_000

_OURS, _ONE = "users-batch, 2 processes", "users-batch, 1 process"
_INDEXED = "users-batch, 2, and idx_users_batch_status_id"
_PLAIN, _PLAIN_TWO = "plain design", "plain design, 2 sessions"
_PGQUEUER, _PROCRASTINATE = "PgQueuer, 2 processes", "Procrastinate, 2 processes"

# Ours is at 3.6 to 4.4. The rest is room for a busy machine.
_BOUNDS = {_PLAIN: Bound(least=2.5)}
# Contestants whose share of HOT updates the note gives.
HOT = {_OURS: "with users-batch", _INDEXED: "with people's own index on batch_status alongside", _PLAIN: "plain"}

# Index that people create. Without a condition it also serves their own queries.
_INDEX = "CREATE INDEX idx_users_batch_status_id ON users (batch_status, id)"
_PLAIN_DESIGN = (HERE / "plain_design.sql").read_text()
_SETTLE = ("VACUUM ANALYZE users", "CHECKPOINT")

# Jobs in the database that is named after the queue.
_JOBS = {"pgqueuer": 20_000, "procrastinate": 5_000}

# From the first claim to the last completion on the server's clock: the start of Python does not count.
_SECONDS = {
    "loaded": "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM batch_jobs",
    "pgqueuer": """
SELECT extract(epoch FROM max(created) - min(created))::float8 FROM pgqueuer_log WHERE status <> 'queued'""",
    "procrastinate": """
SELECT extract(epoch FROM max(at) - min(at))::float8 FROM procrastinate_events WHERE type <> 'deferred'""",
}

_ENDED = "SELECT count(*) FROM users WHERE batch_status IN ('completed', 'failed')"
_UPDATES = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'users'"


class Contestant(NamedTuple):
    """Number of processes or sessions that work through a copy of `template`."""

    template: str
    workers: int
    prepare: Sequence[str] = ()


_CONTESTANTS = {
    _OURS: Contestant("loaded", 2),
    _PLAIN: Contestant("bare", 1, (_PLAIN_DESIGN, *_SETTLE)),
    _PLAIN_TWO: Contestant("bare", 2, (_PLAIN_DESIGN, *_SETTLE)),
    _ONE: Contestant("loaded", 1),
    _INDEXED: Contestant("loaded", 2, (_INDEX, *_SETTLE)),
    _PGQUEUER: Contestant("pgqueuer", 2),
    _PROCRASTINATE: Contestant("procrastinate", 2),
}


async def measure_process(bench: Bench, databases: Databases, rows: int) -> Comparison:
    """Measure how fast `rows` users are processed. Raises `StackError`."""
    bench.say("process: making the tables of the job queues")
    for queue, jobs in _JOBS.items():
        await databases.copy("bare", queue)
        await run_together(bench.script(queue, f"{queue}_app", databases.dsn(queue), jobs))
        await databases.run(queue, "VACUUM ANALYZE")
    turns = {name: partial(_turn, bench, databases, rows, name) for name in _CONTESTANTS}
    results = await bench.in_turns("process", turns)
    rates = {name: [rows_per_s for rows_per_s, _ in turns] for name, turns in results.items()}
    hot = {name: turns[-1][1] for name, turns in results.items()}
    return Comparison("process", "rows/s", rates, _BOUNDS, note(rows, hot, durable=bench.durable))


async def _turn(bench: Bench, databases: Databases, users: int, name: str) -> tuple[float, float]:
    """Return rows per second and the share of HOT updates. Raises `StackError` unless every row was processed."""
    contestant = _CONTESTANTS[name]
    rows = _JOBS.get(contestant.template, users)
    updates_per_row = 1 if contestant.template in _JOBS else 2
    async with databases.fresh(contestant.template) as database:
        await databases.run(database, *contestant.prepare)
        seconds = await _process(bench, databases, database, contestant)
        (ended,) = await databases.row(database, _ENDED)
        if ended != rows:
            raise StackError(f"process: {name} processed {ended:,} of {rows:,} rows")

        async def updates() -> Sequence[int] | None:
            counts = await databases.row(database, _UPDATES)
            # A session reports its counts when it ends or a moment later.
            return counts if counts[0] >= updates_per_row * rows else None

        updated, hot = await until(updates)
    return rows / seconds, hot / updated


async def _process(bench: Bench, databases: Databases, database: str, contestant: Contestant) -> float:
    """Process the rows of `database` and return the seconds it took."""
    template, workers, _ = contestant
    if template == "bare":
        began = time.perf_counter()
        await asyncio.gather(*(databases.run(database, f"CALL process_all({_CLAIM_SIZE})") for _ in range(workers)))
        return time.perf_counter() - began
    if template == "loaded":
        settings = {"PG_DSN": databases.dsn(database, "users_worker"), "HTTP_PORT": "0"}
        programs = [bench.script(f"users-batch {n}", "users_batch", **settings) for n in range(workers)]
    else:
        dsn = databases.dsn(database)
        programs = [bench.script(f"{template} {n}", f"{template}_app", dsn) for n in range(workers)]
    await run_together(*programs)
    (seconds,) = await databases.row(database, _SECONDS[template])
    return float(seconds)


def note(rows: int, hot: Mapping[str, float], *, durable: bool) -> str:
    """Explain the figures."""
    shares = ", ".join(f"{hot[name]:.0%} {words}" for name, words in HOT.items())
    durability = "on" if durable else "off"
    return (
        f"{rows:,} users in a fresh copy of the same database for each turn, from the first claim to the last "
        "completion. The server is the local stack's, with shared_buffers 256MB, fsync and full_page_writes "
        f"{durability}. "
        "users-batch: the real handler, default settings. Plain design: both updates find their rows with a "
        f"partial index on (batch_status, id), a commit every 20,000, all in the server. HOT updates: {shares}. "
        f"PgQueuer ({_JOBS['pgqueuer']:,} jobs): asyncpg, uvloop, batch_size 100, `pgq autovac`. "
        f"Procrastinate ({_JOBS['procrastinate']:,} jobs): concurrency 30, a pool of 10. Both: a job for each user, "
        "the same handler between a SELECT and an UPDATE by key, a pool of 10 asyncpg connections. "
        "Enqueuing does not count."
    )
