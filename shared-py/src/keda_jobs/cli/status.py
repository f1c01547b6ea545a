"""`keda-jobs status`: streams, consumers, long work, waiting retries, events for later and dead letters."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from keda_jobs.cli.connection import nats_settings
from keda_jobs.cli.options import JsonOption, ServerOption
from keda_jobs.cli.terminal import add_row, format_age, format_due, json_fields, new_table
from keda_jobs.cli.watch import WatchOption, show
from keda_jobs.cli.watch import watch as repeat
from keda_jobs.jetstream.connection import connect
from keda_jobs.status.delayed_events import DelayedEvents
from keda_jobs.status.long_work import LongWork
from keda_jobs.status.overview import Overview, read_overview
from keda_jobs.status.stream import StreamState, WaitingRetries


def status(
    watch: WatchOption = False,
    json_: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Show the streams, each durable consumer's lag, the waiting retries, dead letters, events for later and long work.

    lag = pending + in flight, and KEDA scales on it. A waiting retry counts in neither, nor does an event for later.

    Example: `keda-jobs status --watch`

    JSON: `{"time", "server_version", "streams": [{"name", "messages", "bytes", "first_time", "last_time", "max_age_s",
    "max_bytes"}],
    "consumers": [{"name", "lag", "num_pending", "num_ack_pending", "num_waiting", "num_redelivered", "delivered"}],
    "waiting_retries": [{"job", "count", "next_due", "is_exact"}],
    "delayed_events": {"count", "overdue", "next_due", "is_exact"},
    "dead_letters": {"total", "by_job", "is_exact"},
    "long_work": [{"job", "id", "pod", "attempt", "started_at", "done", "total", "text"}]}`; with --watch
    one object per line.

    `next_due` is that of the 1000 oldest retries of a job, `by_job` counts the 10000 oldest dead letters. If there
    are more, `is_exact` is false: a retry may be due earlier, and the counts by job are higher. A job without a
    consumer is listed if one of the 1000 oldest retries of all is its own. Of the events for later, the 1000 oldest are
    looked at. `overdue` ones have been due for over a minute, and NATS has not published them.
    """
    settings = nats_settings(server)
    as_json = status_json if json_ else None

    async def read() -> Overview:
        async with connect(settings, name="keda-jobs-cli", wait=False) as connection:
            return await read_overview(connection)

    if watch:
        asyncio.run(repeat(read, screen=view, lines=view, as_json=as_json))
    else:
        show(read, view, as_json)


def view(overview: Overview) -> Group:
    """Build the tables of the status."""
    lines = [*(_stream_line(stream, overview) for stream in overview.streams), *_delayed_line(overview)]
    long_work: list[RenderableType] = [Text(), _long_work_table(overview)] if overview.long_work else []
    return Group(*lines, Text(), _consumers_table(overview), Text(), _jobs_table(overview), *long_work)


def _stream_line(stream: StreamState, overview: Overview) -> Text:
    line = f"{stream.name}: {stream.messages:,} messages, {decimal(stream.bytes)}"
    if stream.first_time and stream.last_time:
        oldest, newest = format_age(stream.first_time, overview.now), format_age(stream.last_time, overview.now)
        line += f", the oldest {oldest} old, the newest {newest}"
    return Text(f"{line} (NATS {overview.server_version})")


def _delayed_line(overview: Overview) -> list[Text]:
    delayed = overview.delayed_events
    if not delayed.count:
        return []
    line = f"events for later: {delayed.count:,}"
    if delayed.next_due:
        line += f", the next due {_due(delayed, overview.now)}"
    if delayed.overdue:
        line += f", {delayed.overdue:,} overdue"
    return [Text(line, style="red" if delayed.overdue else "")]


def _consumers_table(overview: Overview) -> Table:
    numbers = ("lag", "pending", "in flight", "pulls", "redelivered")
    table = new_table("consumer", *numbers, right=numbers)
    for one in overview.consumers:
        add_row(table, one.name, one.lag, one.num_pending, one.num_ack_pending, one.num_waiting, one.num_redelivered)
    return table


def _jobs_table(overview: Overview) -> Table:
    retries = {one.job: one for one in overview.waiting_retries}
    dead = overview.dead_letters
    jobs = {one.job for one in overview.consumers} | retries.keys() | dead.by_job.keys()
    table = new_table("job", "waiting retries", "next due", "dead letters", right=("waiting retries", "dead letters"))
    for job in sorted(jobs):
        waiting = retries.get(job)
        count = dead.by_job.get(job, 0)
        add_row(
            table,
            job or "(none named)",
            waiting.count if waiting else 0,
            _due(waiting, overview.now),
            count if dead.is_exact else f"≥ {count}",
        )
    if not dead.is_exact:
        add_row(table, "all", "", "", dead.total)
    return table


def _long_work_table(overview: Overview) -> Table:
    table = new_table("long work", "for", "attempt", "progress", "", "pod", right=("for", "attempt"), cut=("", "pod"))
    for one in overview.long_work:
        age = format_age(one.started_at, overview.now)
        add_row(table, one.id, age, one.attempt, _progress(one), one.text, one.pod)
    return table


def _progress(work: LongWork) -> str:
    if work.done is None:
        return "-"
    if work.total is None:
        return f"{work.done:.10g}"
    percent = f" ({work.done / work.total:.0%})" if work.total > 0 else ""
    return f"{work.done:.10g} of {work.total:.10g}{percent}"


def _due(waiting: WaitingRetries | DelayedEvents | None, now: datetime) -> str:
    if waiting is None or waiting.next_due is None:
        return "-"
    due = format_due(waiting.next_due, now)
    return due if waiting.is_exact else f"{due} or earlier"


def status_json(overview: Overview) -> dict[str, Any]:
    """Build the JSON of the status. Scripts rely on its keys."""
    dead = overview.dead_letters
    return {
        "time": overview.now.isoformat(),
        "server_version": overview.server_version,
        "streams": [json_fields(one) for one in overview.streams],
        "consumers": [{"name": one.name, "lag": one.lag, **json_fields(one)} for one in overview.consumers],
        "waiting_retries": [json_fields(one) for one in overview.waiting_retries],
        "delayed_events": json_fields(overview.delayed_events),
        "dead_letters": {"total": dead.total, "by_job": dead.by_job, "is_exact": dead.is_exact},
        "long_work": [json_fields(one) for one in overview.long_work],
    }
