"""`keda-jobs batch retry`: reset failed rows to pending."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

import typer

from keda_jobs.claims import ClaimTable
from keda_jobs.claims.failed_rows import FailedRow, FailedRowCount, RowFilter
from keda_jobs.claims.queue_failures import QueueFailures
from keda_jobs.cli import options
from keda_jobs.cli.batch.selection import parse_selection
from keda_jobs.cli.batch.views import failures_table
from keda_jobs.cli.connection import INTERRUPTED, interruptible
from keda_jobs.cli.terminal import confirm, pluralize, print_err, print_json, print_out, progress_meter, report_missing
from keda_jobs.errors import Misconfigured
from keda_jobs.settings import PgSettings, load_settings
from keda_jobs.status.batch import find_queue_and_time, open_database

_SAMPLE = 10


@dataclass(frozen=True, slots=True)
class _Result:
    reset: int = 0
    locked: Counter[str] = field(default_factory=Counter)
    is_interrupted: bool = False


@dataclass(frozen=True, slots=True)
class _Survey:
    table: ClaimTable
    now: datetime
    count: FailedRowCount
    sample: list[FailedRow]
    keys: frozenset[int]


def retry(
    name_and_keys: options.NameAndKeysArgument = None,
    reason: options.ReasonOption = None,
    given_up: options.GivenUpOption = False,
    waiting: options.WaitingOption = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Retry all failed rows; required without KEY or a filter.")
    ] = False,
    yes: options.YesOption = False,
    dry_run: options.DryRunOption = False,
    json_: options.JsonOption = False,
) -> None:
    """Reset failed rows to pending with no attempts, after showing some of them and asking.

    Workers may run meanwhile. A waiting row that a worker claims first is left to it. Ctrl-C ends between two
    transactions of 5000 rows. Run the command again to continue. Rows that somebody has locked for more than 2 s are
    left out. The command says who that is, and exits with 1. A row whose update is refused, or takes more than 10 s,
    stays failed.

    Examples:

    - `keda-jobs batch retry --given-up --reason "TimeoutError" --dry-run`

    - `keda-jobs batch retry 17 42`

    - `keda-jobs batch retry users-batch --all --yes`

    JSON: `{"dry_run", "found", "given_up", "waiting", "reset", "locked", "interrupted"}`; `found` is the sum of
    the next two.
    """
    name, row_filter = parse_selection(name_and_keys, reason, given_up=given_up, waiting=waiting)
    if row_filter.is_everything and not everything:
        raise Misconfigured("no rows selected; pass KEY, a filter, or --all")
    settings = load_settings(PgSettings)
    survey = asyncio.run(_find(settings, name, row_filter))
    has_missing = report_missing(row_filter.keys, survey.keys, "failed rows")
    if survey.sample and not json_:
        print_out(failures_table(survey.sample, survey.table.key, survey.now))
    question = f"Set {_format_count(survey.count)} to pending?"
    is_confirmed = not dry_run and survey.count.rows > 0 and (yes or confirm(question, "change rows"))
    result = asyncio.run(_reset(settings, survey, row_filter)) if is_confirmed else _Result()
    _report(survey.count, result, dry_run=dry_run, as_json=json_)
    if result.is_interrupted:
        raise typer.Exit(INTERRUPTED)
    if has_missing or result.locked or (survey.count.rows and not dry_run and not is_confirmed):
        raise typer.Exit(1)


async def _find(settings: PgSettings, name: str | None, row_filter: RowFilter) -> _Survey:
    async with open_database(settings) as connection:
        table, now = await find_queue_and_time(connection, name)
        failures = QueueFailures(connection, table)
        count = await failures.count(row_filter)
        rows = await failures.find(row_filter, len(row_filter.keys) or _SAMPLE) if count.rows else []
    return _Survey(table, now, count, rows[:_SAMPLE], row_filter.keys.intersection(row.key for row in rows))


async def _reset(settings: PgSettings, survey: _Survey, row_filter: RowFilter) -> _Result:
    reset = 0
    with interruptible() as stop, progress_meter("retry", survey.count.rows) as progress:
        async with open_database(settings) as connection:
            failures = QueueFailures(connection, survey.table)
            async with aclosing(failures.reset_all(row_filter, stop)) as resets:
                async for reset in resets:
                    progress(reset)
        return _Result(reset, failures.locked, stop.is_set())


def _report(count: FailedRowCount, result: _Result, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        kinds = {"found": count.rows, "given_up": count.permanently, "waiting": count.waiting}
        done = {"reset": result.reset, "locked": result.locked.total(), "interrupted": result.is_interrupted}
        print_json({"dry_run": dry_run, **kinds, **done})
    elif dry_run:
        print_err(f"{_format_count(count)} would be set to pending")
    else:
        end = "; interrupted, run it again to continue" if result.is_interrupted else ""
        print_err(f"{result.reset:,} of {_format_count(count)} set to pending{end}")
    for holder, rows in result.locked.most_common():
        print_err(f"{pluralize(rows, 'row')} left out, locked by {holder}; run it again when it has ended")


def _format_count(count: FailedRowCount) -> str:
    rows = pluralize(count.rows, "row")
    return f"{rows} ({count.permanently:,} failed permanently, {count.waiting:,} waiting for a retry)"
