"""`keda-jobs batch status`: progress of a batch job, once or every two seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from keda_jobs.cli.batch.views import status_json, status_line, status_view
from keda_jobs.cli.connection import interruptible
from keda_jobs.cli.options import BatchNameArgument, JsonOption
from keda_jobs.cli.terminal import console, print_err, print_json, print_out, sanitize
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.runtime.shutdown import cancel_on
from keda_jobs.settings import PgSettings, load_settings
from keda_jobs.status.batch import BatchStatus, StatusReader

_EVERY_S = 2.0


def status(
    name: BatchNameArgument = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh every two seconds, until Ctrl-C.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show the progress of a batch job: rows by status, running batches, rate, ETA and failure reasons.

    The command counts the rows by reading them all, about ten seconds for 50 million. With --watch it does so once, and
    again for the reasons of new failures, for at most a hundredth of the time. In between, the counts follow from the
    records that workers, inserts and retries write in their own transactions. Rows that somebody deletes or completes
    by hand appear with the next count.

    Claimable is what the scaler sees: pending rows, due retries, and rows of batches with an expired lease. The rate is
    that of the last minute. The ETA includes the last waiting retry.

    Examples:

    - `keda-jobs batch status --watch`

    - `keda-jobs batch status users-batch --json | jq .rows.given_up`

    JSON: `{"time", "batch_name", "table", "rows": {"total", "pending", "processing", "completed", "waiting",
    "given_up"}, "claimable", "next_retry_at", "rows_per_s", "eta_s", "running": [{"batch_id", "pod_name", "claimed",
    "completed", "failed", "rows_per_s", "started_at", "heartbeat_at", "lease_expires_at", "is_lease_over"}],
    "reasons": [{"reason", "rows", "given_up"}], "other_reasons", "counted_at", "count_duration_s"}`; with --watch one
    object a line. `waiting` rows failed and are retried, `given_up` rows failed permanently. `eta_s` is null without
    a rate. `reasons` are the ten most common, with … for values in them.
    """
    settings = load_settings(PgSettings)
    if watch:
        asyncio.run(_watch(settings, name, as_json=json_))
        return
    current = asyncio.run(StatusReader(settings, name, print_err).read())
    if json_:
        print_json(status_json(current))
    else:
        print_out(status_view(current))


async def _watch(settings: PgSettings, name: str | None, *, as_json: bool) -> None:
    screen = console()
    full = screen.is_terminal and not as_json
    with (
        interruptible() as stop,
        Live(console=screen, screen=True, auto_refresh=False) if full else nullcontext() as live,
    ):
        reader = StatusReader(settings, name, print_err if live is None else _print_on(live))
        while not stop.is_set():
            current = await cancel_on(stop, _status_or_error(reader))
            if current is not None:
                _show(current, live, as_json=as_json)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _EVERY_S)


def _print_on(live: Live) -> Callable[[str], None]:
    return lambda line: live.update(Text(sanitize(line)), refresh=True)


def _show(current: BatchStatus | Text, live: Live | None, *, as_json: bool) -> None:
    if live is not None:
        live.update(current if isinstance(current, Text) else status_view(current, with_bar=True), refresh=True)
    elif isinstance(current, Text):
        print_err(current.plain)
    elif as_json:
        print_json(status_json(current), in_one_line=True)
    else:
        print_out(status_line(current))


async def _status_or_error(reader: StatusReader) -> BatchStatus | Text:
    """Read the status, or say why there is none, so that a watch outlives a restart of the server."""
    try:
        return await reader.read()
    except DatabaseUnavailable as error:
        return Text(sanitize(f"{error}; trying again"), style="red")
