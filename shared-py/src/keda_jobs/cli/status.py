"""`keda-jobs status`: stream, consumers, waiting retries and dead letters at a glance."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from keda_jobs.cli.connection import interruptible, nats_settings
from keda_jobs.cli.options import JsonOption, ServerOption
from keda_jobs.cli.terminal import (
    add_row,
    console,
    format_age,
    format_duration,
    new_table,
    print_err,
    print_json,
    print_out,
    sanitize,
)
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from keda_jobs.status.overview import Status, read_status
from keda_jobs.status.retries import WaitingRetries
from keda_jobs.status.stream import ConsumerState, StreamState

_EVERY_S = 2.0


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew every two seconds, until Ctrl-C.")] = False,
    json_: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Show the stream, each durable consumer's lag, the waiting retries and the dead letters.

    lag = pending + in work: what KEDA scales on. A waiting retry is in neither.

    Example: `keda-jobs status --watch`

    JSON: `{"time", "server_version", "stream": {"name", "messages", "bytes", "first_time", "last_time"},
    "consumers": [{"name", "lag", "num_pending", "num_ack_pending", "num_waiting", "num_redelivered"}],
    "waiting_retries": [{"job", "count", "next_due", "is_exact"}],
    "dead_letters": {"total", "by_job", "is_exact"}}`; with --watch one object a line.

    `next_due` is found among the 1000 oldest retries of a job, `by_job` among the 10000 oldest letters. Where there
    are more, `is_exact` is false: something may be due earlier, and the counts by job are higher.
    """
    settings = nats_settings(server)
    if watch:
        asyncio.run(_watch(settings, as_json=json_))
        return
    found = asyncio.run(_read(settings))
    if json_:
        print_json(status_json(found))
    else:
        print_out(view(found))


async def _read(settings: NatsSettings) -> Status:
    async with connect(settings, name="keda-jobs-cli", wait=False) as client:
        return await read_status(client)


async def _watch(settings: NatsSettings, *, as_json: bool) -> None:
    screen = console()
    full = screen.is_terminal and not as_json
    with (
        interruptible() as stop,
        Live(console=screen, screen=True, auto_refresh=False) if full else nullcontext() as live,
    ):
        while not stop.is_set():
            found = await _read_or_reason(settings)
            if live is not None:
                live.update(found if isinstance(found, Text) else view(found), refresh=True)
            elif isinstance(found, Text):
                print_err(found.plain)
            elif as_json:
                print_json(status_json(found), in_one_line=True)
            else:
                print_out(view(found))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _EVERY_S)


async def _read_or_reason(settings: NatsSettings) -> Status | Text:
    """The status, or why there is none at the moment: a watch outlives a restart of the server."""
    try:
        return await _read(settings)
    except BrokerUnavailable as error:
        return Text(sanitize(f"{error}; trying again"), style="red")


def view(found: Status) -> Group:
    """The status as tables."""
    return Group(_stream_line(found), Text(), _consumers_table(found), Text(), _jobs_table(found))


def _stream_line(found: Status) -> Text:
    stream = found.stream
    line = f"{STREAM}: {stream.messages:,} messages, {decimal(stream.bytes)}"
    if stream.first_time and stream.last_time:
        oldest, newest = format_age(stream.first_time, found.now), format_age(stream.last_time, found.now)
        line += f", the oldest {oldest} old, the newest {newest}"
    return Text(f"{line} (NATS {found.server_version})")


def _consumers_table(found: Status) -> Table:
    numbers = ("lag", "pending", "in work", "pulls", "redelivered")
    made = new_table("consumer", *numbers, right=numbers)
    for one in found.consumers:
        add_row(made, one.name, one.lag, one.num_pending, one.num_ack_pending, one.num_waiting, one.num_redelivered)
    return made


def _jobs_table(found: Status) -> Table:
    retries = {one.job: one for one in found.waiting_retries}
    letters = found.dead_letters
    jobs = {one.job for one in found.consumers} | retries.keys() | letters.by_job.keys()
    made = new_table("job", "waiting retries", "next due", "dead letters", right=("waiting retries", "dead letters"))
    for job in sorted(jobs):
        waiting = retries.get(job)
        dead = letters.by_job.get(job, 0)
        add_row(
            made,
            job or "(none named)",
            waiting.count if waiting else 0,
            _due(waiting, found.now),
            dead if letters.is_exact else f"≥ {dead}",
        )
    if not letters.is_exact:
        add_row(made, "all", "", "", letters.total)
    return made


def _due(waiting: WaitingRetries | None, now: datetime) -> str:
    if waiting is None or waiting.next_due is None:
        return "-"
    left = waiting.next_due - now
    due = f"in {format_duration(left)}" if left > timedelta(0) else "now"
    return due if waiting.is_exact else f"{due} or earlier"


def status_json(found: Status) -> dict[str, Any]:
    """The status for scripts; the keys stay."""
    letters = found.dead_letters
    return {
        "time": found.now.isoformat(),
        "server_version": found.server_version,
        "stream": {"name": STREAM, **_jsonable(found.stream)},
        "consumers": [{"name": one.name, "lag": one.lag, **_jsonable(one)} for one in found.consumers],
        "waiting_retries": [_jsonable(one) for one in found.waiting_retries],
        "dead_letters": {"total": letters.total, "by_job": letters.by_job, "is_exact": letters.is_exact},
    }


def _jsonable(value: StreamState | ConsumerState | WaitingRetries) -> dict[str, Any]:
    return {key: item.isoformat() if isinstance(item, datetime) else item for key, item in asdict(value).items()}
