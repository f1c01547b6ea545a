"""`keda-jobs batch retry`: reset failed rows to pending."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from keda_jobs.claims import ClaimTable
from keda_jobs.claims.failed_rows import FailedRow, FailedRowCount, FailedRows, RowFilter
from keda_jobs.cli.batch.selection import parse_selection, report_missing
from keda_jobs.cli.batch.views import failures_table
from keda_jobs.cli.connection import INTERRUPTED, interruptible
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
from keda_jobs.settings import PgSettings, load_settings
from keda_jobs.status.batch import announce_full_scan, find_queue_and_time, open_database

_SAMPLE = 10


@dataclass(frozen=True, slots=True)
class _Survey:
    table: ClaimTable
    now: datetime
    count: FailedRowCount
    sample: list[FailedRow]
    keys: frozenset[int]


@dataclass(slots=True)
class _Outcome:
    reset: int = 0
    interrupted: bool = False


def retry(
    name_and_keys: NameAndKeysArgument = None,
    reason: ReasonOption = None,
    given_up: GivenUpOption = False,
    waiting: WaitingOption = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Retry all failed rows; required without KEY or a filter.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRunOption = False,
    json_: JsonOption = False,
) -> None:
    """Reset failed rows to pending with no attempts, after showing some of them and asking.

    Workers may run meanwhile. A waiting row that a worker claims first is left to it. Ctrl-C ends between two
    transactions of 5000 rows. Run the command again to continue.

    Examples:

    - `keda-jobs batch retry --given-up --reason "TimeoutError" --dry-run`

    - `keda-jobs batch retry 17 42`

    - `keda-jobs batch retry users-batch --all --yes`

    JSON: `{"dry_run", "found", "given_up", "waiting", "reset", "interrupted"}`; `found` is the sum of the next two.
    """
    name, row_filter = parse_selection(name_and_keys, reason, given_up=given_up, waiting=waiting)
    if row_filter.is_everything and not everything:
        raise Misconfigured("no rows selected; pass KEY, a filter, or --all")
    settings = load_settings(PgSettings)
    survey = asyncio.run(_find(settings, name, row_filter))
    has_missing = report_missing(row_filter, survey.keys)
    if survey.sample and not json_:
        print_out(failures_table(survey.sample, survey.table.key, survey.now))
    outcome = _Outcome()
    is_confirmed = not dry_run and survey.count.rows > 0 and _is_confirmed(survey.count, yes)
    if is_confirmed:
        asyncio.run(_reset(settings, survey, row_filter, outcome))
    _report(outcome, survey.count, dry_run=dry_run, as_json=json_)
    if outcome.interrupted:
        raise typer.Exit(INTERRUPTED)
    if has_missing or (survey.count.rows and not dry_run and not is_confirmed):
        raise typer.Exit(1)


async def _find(settings: PgSettings, name: str | None, row_filter: RowFilter) -> _Survey:
    async with open_database(settings) as connection:
        table, now = await find_queue_and_time(connection, name)
        failed = FailedRows(connection, table)
        if not row_filter.keys:
            await announce_full_scan(connection, table, print_err)
        count = await failed.count(row_filter)
        rows = await failed.find(row_filter, len(row_filter.keys) or _SAMPLE) if count.rows else []
    return _Survey(table, now, count, rows[:_SAMPLE], row_filter.keys.intersection(row.key for row in rows))


def _is_confirmed(count: FailedRowCount, yes: bool) -> bool:
    if yes:
        return True
    if not typer.get_text_stream("stdin").isatty():
        raise Misconfigured("refusing to change rows without confirmation: stdin is not a terminal, pass --yes")
    return typer.confirm(f"Set {_format_count(count)} to pending?", err=True)


async def _reset(settings: PgSettings, survey: _Survey, row_filter: RowFilter, outcome: _Outcome) -> None:
    with interruptible() as stop, progress_meter("retry", survey.count.rows) as progress:
        async with open_database(settings) as connection:
            resets = FailedRows(connection, survey.table).reset_all(row_filter, stop)
            async with aclosing(resets):
                async for outcome.reset in resets:
                    progress(outcome.reset)
        outcome.interrupted = stop.is_set()


def _report(outcome: _Outcome, count: FailedRowCount, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        kinds = {"found": count.rows, "given_up": count.permanently, "waiting": count.waiting}
        print_json({"dry_run": dry_run, **kinds, "reset": outcome.reset, "interrupted": outcome.interrupted})
    elif dry_run:
        print_err(f"{_format_count(count)} would be set to pending")
    else:
        end = "; interrupted, run it again to continue" if outcome.interrupted else ""
        print_err(f"{outcome.reset:,} of {_format_count(count)} set to pending{end}")


def _format_count(count: FailedRowCount) -> str:
    rows = pluralize(count.rows, "row")
    return f"{rows} ({count.permanently:,} failed permanently, {count.waiting:,} waiting for a retry)"
