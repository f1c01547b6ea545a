"""`keda-jobs batch failures`: list failed rows."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Annotated

import typer

from keda_jobs.claims.failed_rows import RowFilter
from keda_jobs.claims.queue_failures import QueueFailures
from keda_jobs.cli.batch.selection import parse_selection
from keda_jobs.cli.batch.views import failure_json, failures_table
from keda_jobs.cli.options import GivenUpOption, JsonOption, NameAndKeysArgument, ReasonOption, WaitingOption
from keda_jobs.cli.terminal import JsonArray, pluralize, print_err, print_out, report_missing
from keda_jobs.settings import PgSettings, load_settings
from keda_jobs.status.batch import find_queue_and_time, open_database

# Rows are read and printed in pages of this size, because there may be millions.
_PAGE = 1000


def list_failures(
    name_and_keys: NameAndKeysArgument = None,
    reason: ReasonOption = None,
    given_up: GivenUpOption = False,
    waiting: WaitingOption = False,
    limit: Annotated[int, typer.Option(help="Show only the first N rows; 0 shows all.", min=0)] = 50,
    json_: JsonOption = False,
) -> None:
    """List failed rows in the order of their keys, then those that are set aside.

    A row is set aside with its reason in the queue where the row itself cannot be read or written, because a constraint
    or a trigger refuses it, or somebody has locked it.

    The command reads the failed rows, and no others. A row that somebody set to failed without an error appears once it
    has failed permanently. A time beyond the years 1 to 9999 is shown as the nearest day within.

    Examples:

    - `keda-jobs batch failures --given-up --reason "email:"`

    - `keda-jobs batch failures 17 42`

    - `keda-jobs batch failures users-batch --json --limit 0 | jq -r '.[].error'`

    JSON: `[{"key", "attempts", "next_attempt_at", "given_up", "batch_id", "error"}]`; `next_attempt_at` is null if the
    row failed permanently.
    """
    name, row_filter = parse_selection(name_and_keys, reason, given_up=given_up, waiting=waiting)
    has_missing = asyncio.run(_list(load_settings(PgSettings), name, row_filter, limit, as_json=json_))
    if has_missing:
        raise typer.Exit(1)


async def _list(settings: PgSettings, name: str | None, row_filter: RowFilter, limit: int, *, as_json: bool) -> bool:
    """Print the rows. Return whether a selected key is missing, which is known only if all rows were read."""
    rows, keys, array = 0, set[int](), JsonArray()
    async with open_database(settings) as connection:
        table, now = await find_queue_and_time(connection, name)
        failures = QueueFailures(connection, table)
        async with aclosing(failures.pages(row_filter, _PAGE, limit or None)) as pages:
            async for page in pages:
                if as_json:
                    array.add(json.dumps(failure_json(row)) for row in page)
                else:
                    print_out(failures_table(page, table.key, now))
                rows += len(page)
                keys |= row_filter.keys.intersection(row.key for row in page)
        is_all = rows < limit or not limit
        if as_json:
            array.close()
        elif is_all:
            print_err(f"{pluralize(rows, 'row')} failed")
        else:
            total = (await failures.count(row_filter)).rows
            print_err(
                f"{pluralize(total, 'row')} failed" + f", the first {limit:,} shown (--limit 0: all)" * (total > limit)
            )
    return is_all and report_missing(row_filter.keys, keys, "failed rows")
