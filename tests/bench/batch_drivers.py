"""Two PostgreSQL drivers with the statements of users-batch: why it uses asyncpg."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from batch_databases import Databases
from results import Baseline, Comparison, Series
from scripts import HERE, Script, run_together
from turns import in_turn

_DEADLINE_S = 120.0
_ROWS = 200_000
_ASYNCPG, _PSYCOPG = "asyncpg", "psycopg 3, binary"
_NOTE = (
    f"Claim and completion of {_ROWS:,} rows over one connection without a handler. Both drivers get binary results "
    "and keep no prepared statement."
)


async def measure_drivers(
    databases: Databases, folder: Path, rounds: int, say: Callable[[str], None]
) -> list[Comparison]:
    """Measure rows per second and the client's CPU time for a row. Raises `StackError`."""
    cpu_us: dict[str, list[float]] = {_ASYNCPG: [], _PSYCOPG: []}

    async def turn(name: str) -> float:
        async with databases.fresh("loaded") as database:
            dsn = databases.dsn(database, "users_worker")
            arguments = [str(HERE / "claim_loop.py"), name.partition(" ")[0], dsn, str(_ROWS)]
            script = Script(name, arguments, folder / "claim-loop.log")
            await run_together([script], _DEADLINE_S)
        rows, seconds, cpu_s = map(float, script.last_line().split())
        cpu_us[name].append(1e6 * cpu_s / rows)
        return rows / seconds

    rates = await in_turn("drivers", {name: partial(turn, name) for name in cpu_us}, rounds, say)
    cpu = {name: Series(name, tuple(values)) for name, values in cpu_us.items()}
    return [
        Comparison("drivers", "rows/s", rates[_ASYNCPG], [Baseline(rates[_PSYCOPG])], note=_NOTE),
        Comparison("drivers, CPU", "client µs/row", cpu[_ASYNCPG], [Baseline(cpu[_PSYCOPG])]),
    ]
