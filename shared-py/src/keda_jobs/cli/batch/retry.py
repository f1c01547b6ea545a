"""`keda-jobs batch retry`: failed rows are put back in the queue."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from keda_jobs.claims import ClaimTable
from keda_jobs.claims.failed_rows import FailedRow, FailedRowCount, FailedRows, RowFilter
from keda_jobs.cli.batch.selection import parse_selection, say_missing
from keda_jobs.cli.batch.views import failures_table
from keda_jobs.cli.connection import INTERRUPTED, cancel_on, interruptible
from keda_jobs.cli.options import (
    DryRunOption,
    GivenUpOption,
    JsonOption,
    NameAndKeysArgument,
    ReasonOption,
    WaitingOption,
)
from keda_jobs.cli.terminal import pluralize, print_err, print_json, print_out, progress_meter
from keda_jobs.errors import Misconfigured
from keda_jobs.settings import PgSettings, load
from keda_jobs.status.batch import announce_long_reading, database, queue_and_time

_SAMPLE = 10
# A transaction of so many rows takes some tenths of a second.
_CHUNK = 5000


@dataclass(frozen=True, slots=True)
class _Found:
    table: ClaimTable
    now: datetime
    number: FailedRowCount
    sample: list[FailedRow]
    keys: frozenset[int]


@dataclass(slots=True)
class _Retried:
    reset: int = 0
    interrupted: bool = False


def retry(
    name_and_keys: NameAndKeysArgument = None,
    reason: ReasonOption = None,
    given_up: GivenUpOption = False,
    waiting: WaitingOption = False,
    everything: Annotated[
        bool, typer.Option("--all", help="All failed rows; needed where neither KEY nor a filter is given.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRunOption = False,
    json_: JsonOption = False,
) -> None:
    """Set failed rows to pending, with no attempts, after showing some of them and asking.

    Workers may run meanwhile: a waiting row that one of them takes up is left to it. Ctrl-C ends between two
    transactions of 5000 rows; run it again to go on.

    Examples:

    - `keda-jobs batch retry --given-up --reason "TimeoutError" --dry-run`

    - `keda-jobs batch retry 17 42`

    - `keda-jobs batch retry users-batch --all --yes`

    JSON: `{"dry_run", "found", "given_up", "waiting", "reset", "interrupted"}`; `found` is the sum of the next two.
    """
    name, wanted = parse_selection(name_and_keys, reason, given_up=given_up, waiting=waiting)
    if wanted.is_everything and not everything:
        raise Misconfigured("say which rows: KEY, a filter, or --all")
    settings = load(PgSettings)
    found = asyncio.run(_look(settings, name, wanted))
    has_missing = say_missing(wanted, found.keys)
    if found.sample and not json_:
        print_out(failures_table(found.sample, found.table.key, found.now))
    retried = _Retried()
    is_wanted = not dry_run and found.number.rows > 0 and _is_confirmed(found.number, yes)
    if is_wanted:
        asyncio.run(_reset_all(settings, found, wanted, retried))
    _report(retried, found.number, dry_run=dry_run, as_json=json_)
    if retried.interrupted:
        raise typer.Exit(INTERRUPTED)
    if has_missing or (found.number.rows and not dry_run and not is_wanted):
        raise typer.Exit(1)


async def _look(settings: PgSettings, name: str | None, wanted: RowFilter) -> _Found:
    async with database(settings) as connection:
        table, now = await queue_and_time(connection, name)
        failed = FailedRows(connection, table)
        if not wanted.keys:
            await announce_long_reading(connection, table, print_err)
        number = await failed.count(wanted)
        rows = await failed.find(wanted, len(wanted.keys) or _SAMPLE) if number.rows else []
    return _Found(table, now, number, rows[:_SAMPLE], wanted.keys.intersection(row.key for row in rows))


def _is_confirmed(number: FailedRowCount, yes: bool) -> bool:
    if yes:
        return True
    if not typer.get_text_stream("stdin").isatty():
        raise Misconfigured("retry asks before it changes rows, and nobody can answer here: pass --yes")
    return typer.confirm(f"Set {_described(number)} to pending?", err=True)


async def _reset_all(settings: PgSettings, found: _Found, wanted: RowFilter, retried: _Retried) -> None:
    with interruptible() as stop, progress_meter("retry", found.number.rows) as progress:
        async with database(settings) as connection:
            failed = FailedRows(connection, found.table)
            async with aclosing(failed.pages(wanted, _CHUNK)) as pages:
                while rows := await cancel_on(stop, anext(pages, None)):
                    retried.reset += (await failed.reset(rows)).rows
                    progress(retried.reset)
        retried.interrupted = stop.is_set()


def _report(retried: _Retried, number: FailedRowCount, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        kinds = {"found": number.rows, "given_up": number.permanently, "waiting": number.waiting}
        print_json({"dry_run": dry_run, **kinds, "reset": retried.reset, "interrupted": retried.interrupted})
    elif dry_run:
        print_err(f"{_described(number)} would be set to pending")
    else:
        end = "; interrupted, run it again to go on" if retried.interrupted else ""
        print_err(f"{retried.reset:,} of {_described(number)} set to pending{end}")


def _described(number: FailedRowCount) -> str:
    rows = pluralize(number.rows, "row")
    return f"{rows} ({number.permanently:,} failed for good, {number.waiting:,} waiting for a retry)"
