"""`keda-jobs batch status`: how far a batch job is, once or anew every two seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from keda_jobs.cli.batch.views import status_json, status_line, status_view
from keda_jobs.cli.connection import cancel_on, interruptible
from keda_jobs.cli.options import BatchNameArgument, JsonOption
from keda_jobs.cli.terminal import console, print_err, print_json, print_out, sanitize
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.settings import PgSettings, load
from keda_jobs.status.batch import Status, StatusReader

_EVERY_S = 2.0


def status(
    name: BatchNameArgument = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew every two seconds, until Ctrl-C.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show how far a batch job is: its rows by status, the batches in work, rate, ETA and why rows fail.

    The rows are counted by reading them all: some ten seconds for 50 million. With --watch that is done once, then
    again for the reasons of new failures, for at most a hundredth of the time. Between, the counts follow from what
    workers, inserts and retries write down in the same transactions. Rows that somebody deletes or ends by hand show
    with the next count.

    Claimable is what the scaler sees: pending rows, due retries, and rows of batches whose lease is over. The rate is
    that of the last minute; the ETA includes the last waiting retry.

    Examples:

    - `keda-jobs batch status --watch`

    - `keda-jobs batch status users-batch --json | jq .rows.given_up`

    JSON: `{"time", "batch_name", "table", "rows": {"total", "pending", "processing", "completed", "waiting",
    "given_up"}, "claimable", "next_retry_at", "rows_per_s", "eta_s", "running": [{"batch_id", "pod_name", "claimed",
    "completed", "failed", "rows_per_s", "started_at", "heartbeat_at", "lease_expires_at", "is_lease_over"}],
    "reasons": [{"reason", "rows", "given_up"}], "other_reasons", "counted_at", "count_duration_s"}`; with --watch one
    object a line. `waiting` failed and is tried again, `given_up` failed for good; `eta_s` is null where no rate tells
    it. `reasons` are the ten commonest, with … for values in them.
    """
    settings = load(PgSettings)
    if watch:
        asyncio.run(_watch(settings, name, as_json=json_))
        return
    found = asyncio.run(StatusReader(settings, name, print_err).read())
    if json_:
        print_json(status_json(found))
    else:
        print_out(status_view(found))


async def _watch(settings: PgSettings, name: str | None, *, as_json: bool) -> None:
    screen = console()
    full = screen.is_terminal and not as_json
    with (
        interruptible() as stop,
        Live(console=screen, screen=True, auto_refresh=False) if full else nullcontext() as live,
    ):
        reader = StatusReader(settings, name, print_err if live is None else _on(live))
        while not stop.is_set():
            found = await cancel_on(stop, _status_or_reason(reader))
            if found is not None:
                _show(found, live, as_json=as_json)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _EVERY_S)


def _on(live: Live) -> Callable[[str], None]:
    return lambda line: live.update(Text(sanitize(line)), refresh=True)


def _show(found: Status | Text, live: Live | None, *, as_json: bool) -> None:
    if live is not None:
        live.update(found if isinstance(found, Text) else status_view(found, with_bar=True), refresh=True)
    elif isinstance(found, Text):
        print_err(found.plain)
    elif as_json:
        print_json(status_json(found), in_one_line=True)
    else:
        print_out(status_line(found))


async def _status_or_reason(reader: StatusReader) -> Status | Text:
    """The status, or why there is none at the moment: a watch outlives a restart of the server."""
    try:
        return await reader.read()
    except DatabaseUnavailable as error:
        return Text(sanitize(f"{error}; trying again"), style="red")
