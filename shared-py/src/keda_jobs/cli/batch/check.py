"""`keda-jobs batch check`: compare the rows of a table with the ranges of its queue, and repair what differs."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated

import typer

from keda_jobs.claims import ClaimTable
from keda_jobs.claims.check import CheckResult, QueueCheck
from keda_jobs.cli.connection import INTERRUPTED, interruptible
from keda_jobs.cli.options import BatchNameArgument, JsonOption
from keda_jobs.cli.terminal import pluralize, print_json, print_out, progress_meter
from keda_jobs.settings import PgSettings, load_settings
from keda_jobs.status.batch import estimate_rows, find_queue_and_time, open_database


def check(
    name: BatchNameArgument = None,
    repair: Annotated[bool, typer.Option("--repair", help="Queue stranded rows, and correct ranges.")] = False,
    json_: JsonOption = False,
) -> None:
    """Compare all rows with the ranges of the queue, and find rows that no worker would get.

    Run it as the worker's role or the owner, at any time. It reads the whole table in windows of 20 000 rows. Nobody
    waits for it: each window is one statement, and --repair locks only rows that it queues, for as long. Rows that
    somebody is changing are left for the next run. Ctrl-C ends between two windows.

    Stranded rows wait but are in no range, or their batch has ended. The command keeps their number, and an alert and
    `batch status` show it. Wrong ranges count too many or too few rows, or their batch has ended. Claims correct them,
    and so does --repair.

    Exit code 1: stranded rows are left.

    Example: `keda-jobs batch check --repair`

    JSON: `{"batch_name", "table", "rows", "ranges", "stranded_rows", "wrong_ranges", "repaired_rows",
    "repaired_ranges", "interrupted"}`
    """
    table, result, is_interrupted = asyncio.run(_check(load_settings(PgSettings), name, repair=repair))
    if json_:
        names = {"batch_name": table.batch_name, "table": table.name}
        print_json({**names, **asdict(result), "interrupted": is_interrupted})
    else:
        _report(table, result, is_interrupted, repair=repair)
    if is_interrupted:
        raise typer.Exit(INTERRUPTED)
    if result.rows_left:
        raise typer.Exit(1)


async def _check(settings: PgSettings, name: str | None, *, repair: bool) -> tuple[ClaimTable, CheckResult, bool]:
    """Return the table, what was found, and whether the command was interrupted."""
    result = CheckResult()
    async with open_database(settings) as connection:
        table, _ = await find_queue_and_time(connection, name)
        total = await estimate_rows(connection, table)
        with interruptible() as stop, progress_meter("check", total) as progress:
            async with aclosing(QueueCheck(connection, table, repair=repair).run(stop)) as steps:
                async for result in steps:
                    progress(result.rows)
            return table, result, stop.is_set()


def _report(table: ClaimTable, result: CheckResult, is_interrupted: bool, *, repair: bool) -> None:
    compared = f"{pluralize(result.rows, 'row')} of {table.name} and {pluralize(result.ranges, 'range')} compared"
    print_out(f"{compared}, interrupted" if is_interrupted else compared)
    for number, kind, repaired in (
        (result.stranded_rows, "stranded row", result.repaired_rows),
        (result.wrong_ranges, "wrong range", result.repaired_ranges),
    ):
        print_out(pluralize(number, kind) + f", {repaired:,} repaired" * repair)
    if result.rows_left:
        left = "some are locked, or a trigger or constraint refuses them: run it again" if repair else "pass --repair"
        print_out(f"no worker gets {pluralize(result.rows_left, 'row')}; {left}")
