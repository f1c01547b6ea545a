"""`keda-jobs batch status | failures | retry`: jobs that claim the rows of a table, and the rows that failed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated

import typer

from keda_jobs.claims.failed_rows import FailedRow, FailedRows, RowFilter
from keda_jobs.cli.batch.selection import parse_selection, say_missing
from keda_jobs.cli.batch.views import failure_json, failures_table
from keda_jobs.cli.options import GivenUpOption, JsonOption, NameAndKeysArgument, ReasonOption, WaitingOption
from keda_jobs.cli.terminal import pluralize, print_err, print_out
from keda_jobs.settings import PgSettings, load
from keda_jobs.status.batch import database, queue_and_time

# So many rows are read, shown and forgotten at once: there may be millions.
_PAGE = 1000


def list_failures(
    name_and_keys: NameAndKeysArgument = None,
    reason: ReasonOption = None,
    given_up: GivenUpOption = False,
    waiting: WaitingOption = False,
    limit: Annotated[int, typer.Option(help="The first so many; 0 shows all.", min=0)] = 50,
    json_: JsonOption = False,
) -> None:
    """List failed rows in the order of their keys.

    The table is read as far as the last row shown, and to say how many there are in all.

    Examples:

    - `keda-jobs batch failures --given-up --reason "email:"`

    - `keda-jobs batch failures 17 42`

    - `keda-jobs batch failures users-batch --json --limit 0 | jq -r '.[].error'`

    JSON: `[{"key", "attempts", "next_attempt_at", "given_up", "batch_id", "error"}]`; `next_attempt_at` is null where
    the row failed for good.
    """
    name, wanted = parse_selection(name_and_keys, reason, given_up=given_up, waiting=waiting)
    listed = asyncio.run(_list(load(PgSettings), name, wanted, limit, as_json=json_))
    if listed.is_all and say_missing(wanted, listed.keys):
        raise typer.Exit(1)


@dataclass(slots=True)
class _Listed:
    rows: int = 0
    is_all: bool = True
    keys: set[int] = field(default_factory=set)


async def _list(settings: PgSettings, name: str | None, wanted: RowFilter, limit: int, *, as_json: bool) -> _Listed:
    """Show the rows; which of the wanted keys were among them."""
    listed = _Listed()
    async with database(settings) as connection:
        table, now = await queue_and_time(connection, name)
        failed = FailedRows(connection, table)
        async with aclosing(failed.pages(wanted, _PAGE, limit or None)) as pages:
            async for page in pages:
                if as_json:
                    _print_json(page, is_first=not listed.rows)
                else:
                    print_out(failures_table(page, table.key, now))
                listed.rows += len(page)
                listed.keys |= wanted.keys.intersection(row.key for row in page)
        listed.is_all = listed.rows < limit or not limit
        if as_json:
            typer.echo("\n]" if listed.rows else "[]")
        elif listed.is_all:
            print_err(f"{pluralize(listed.rows, 'row')} failed")
        else:
            total = (await failed.count(wanted)).rows
            print_err(
                f"{pluralize(total, 'row')} failed" + f", the first {limit:,} shown (--limit 0: all)" * (total > limit)
            )
    return listed


def _print_json(rows: Sequence[FailedRow], *, is_first: bool) -> None:
    """An array's next items, a line each."""
    text = ",\n".join(f"  {json.dumps(failure_json(row))}" for row in rows)
    typer.echo(("[\n" if is_first else ",\n") + text, nl=False)
