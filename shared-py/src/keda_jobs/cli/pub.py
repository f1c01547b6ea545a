"""`keda-jobs pub`: publish one event, or a file of them."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, BinaryIO

import typer

from keda_jobs.cli.connection import INTERRUPTED, interruptible, run
from keda_jobs.cli.event_lines import check_lines, open_lines, parse_event, read_events
from keda_jobs.cli.line_ranges import ALL_LINES, LineRanges
from keda_jobs.cli.options import JsonOption, ServerOption, duration, moment
from keda_jobs.cli.terminal import print_err, print_json, progress_meter
from keda_jobs.domain.delay import InvalidDelay, check_due, due_in
from keda_jobs.domain.subjects import is_literal
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.pipeline import Pipeline
from keda_jobs.runtime.tracing import open_tracer
from keda_jobs.settings import TraceSettings, load_settings

# Bytes reserved for the headers of an event.
_HEADERS = 512


_EventArgument = Annotated[
    str | None, typer.Argument(metavar="JSON", help="One event: a JSON object or a URL; - reads it from stdin.")
]
_FileOption = Annotated[
    str | None,
    typer.Option("--file", "-f", metavar="FILE", help="File with one event per line: JSON or URL; - reads stdin."),
]
_LinesOption = Annotated[
    LineRanges | None,
    typer.Option(
        "--lines", parser=LineRanges.parse, metavar="57,129-", help="Only these lines of FILE, to go on after a stop."
    ),
]
_InOption = Annotated[
    timedelta | None, typer.Option("--in", parser=duration, metavar="10m", help="Have NATS publish it this much later.")
]
_AtOption = Annotated[
    datetime | None,
    typer.Option("--at", parser=moment, metavar="TIME", help="Have NATS publish it then, as 2026-12-24T18:00Z."),
]


def pub(
    subject: Annotated[str, typer.Argument(help="Subject of the events, such as image-download.")],
    event: _EventArgument = None,
    file: _FileOption = None,
    lines: _LinesOption = None,
    in_: _InOption = None,
    at: _AtOption = None,
    json_: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Publish events and wait until the server has stored each of them.

    A line of a file is a JSON object, or a plain URL, which means `{"url": "…"}`. Empty lines and lines that begin
    with # are ignored. The whole file is checked first. If one line is wrong, nothing is published.

    With `--in` or `--at` the server holds the events and publishes them when they are due: `keda-jobs schedules`.

    After Ctrl-C or a refused line the command says which lines are not published, with the command that publishes
    exactly those. A line that the server did not confirm is one of them, although it may be stored.

    Examples:

    - `keda-jobs pub image-download '{"url": "https://example.org/a.jpg"}'`

    - `keda-jobs pub image-download --file urls.txt`

    - `grep jpg urls.txt | keda-jobs pub image-download --file -`

    - `keda-jobs pub image-download --file urls.txt --lines 57,129-`

    - `keda-jobs pub image-download --in 10m https://example.org/a.jpg`

    JSON: `{"subject", "published", "seconds", "interrupted", "due"}`, with --file also `"lines_left"`, such
    as `57,129-`.
    """
    _check_source(event, file, lines)
    if not is_literal(subject):
        raise Misconfigured(f"{subject!r} is not a subject for publishing")
    due = _due(in_, at)
    with open_tracer(load_settings(TraceSettings), "keda-jobs") as tracer:
        pipeline = Pipeline(subject, tracer, due)
        if event is not None:
            text = typer.get_binary_stream("stdin").read() if event == "-" else os.fsencode(event)
            body = parse_event(text)
            run(server, lambda connection: _publish_one(connection, pipeline, body, as_json=json_))
        else:
            _publish_file(server, pipeline, _File(str(file), lines or ALL_LINES, as_json=json_))
    if pipeline.interrupted:
        raise typer.Exit(INTERRUPTED)


def _check_source(event: str | None, file: str | None, lines: LineRanges | None) -> None:
    """Raise `Misconfigured` unless there is one source of events, and `lines` only with a file."""
    if (event is None) == (file is None):
        raise Misconfigured("pass one event or --file")
    if lines is not None and file is None:
        raise Misconfigured("--lines needs --file")


def _due(delay: timedelta | None, at: datetime | None) -> datetime | None:
    """Return the time at which the events are due, None for now. Raises `Misconfigured` for a time that cannot be."""
    now = datetime.now(UTC)
    if delay is not None and at is not None:
        raise Misconfigured("pass --in or --at")
    try:
        if at is not None:
            check_due(at, now)
            return at
        return None if delay is None else due_in(delay.total_seconds(), now)
    except InvalidDelay as error:
        raise Misconfigured(str(error)) from error


async def _publish_one(connection: NatsConnection, pipeline: Pipeline, event: bytes, *, as_json: bool) -> None:
    async def events() -> AsyncIterator[tuple[int, bytes]]:
        yield 1, event

    began = time.monotonic()
    try:
        with interruptible() as stop:
            await pipeline.run(connection, events(), stop, lambda _done: None)
    finally:
        if as_json:
            print_json(_counts(pipeline, time.monotonic() - began))
        elif pipeline.confirmed:
            print_err(f"1 of 1 {_done(pipeline)} in {time.monotonic() - began:.1f} s")
        elif pipeline.interrupted:
            print_err("interrupted: the event was not confirmed, and may be stored or not")


def _publish_file(server: str | None, pipeline: Pipeline, file: _File) -> None:
    try:
        with open_lines(file.name) as stream:
            run(server, lambda connection: file.publish(connection, pipeline, stream))
    except KeyboardInterrupt:
        if not file.is_reported:
            pipeline.interrupted = True
            file.report(pipeline, 0.0)
        raise


class _File:
    """File whose events are published, and the report of it."""

    def __init__(self, name: str, lines: LineRanges, *, as_json: bool) -> None:
        self.name = name
        self.is_reported = False
        self._lines = lines
        self._as_json = as_json
        self._total: int | None = None

    async def publish(self, connection: NatsConnection, pipeline: Pipeline, stream: BinaryIO) -> None:
        """Check the lines, publish them, and report."""
        max_bytes = connection.max_payload - _HEADERS
        self._total = await check_lines(stream, self._lines, max_bytes)
        checked = read_events(stream, self._lines, max_bytes)
        events = ((number, event) async for number, event in checked if isinstance(event, bytes))
        began = time.monotonic()
        try:
            with interruptible() as stop, progress_meter("pub", self._total) as progress:
                await pipeline.run(connection, events, stop, progress)
        finally:
            self.report(pipeline, time.monotonic() - began)

    def report(self, pipeline: Pipeline, seconds: float) -> None:
        """Say what was published, and which lines were not."""
        self.is_reported = True
        left = self._lines.left(pipeline.unconfirmed, pipeline.rest_from)
        if self._as_json:
            print_json(_counts(pipeline, seconds) | {"lines_left": str(left)})
            return
        total = self._total if self._total is not None else "the events"
        done = f"{pipeline.confirmed} of {total} {_done(pipeline)} in {seconds:.1f} s"
        print_err(done + (self._rest(pipeline, left) if left.ranges else ""))

    def _rest(self, pipeline: Pipeline, left: LineRanges) -> str:
        first = left.ranges[0][0]
        done = f", all up to line {first - 1}" if first > 1 and pipeline.confirmed else ""
        end = "; interrupted" if pipeline.interrupted else ""
        later = ["--at", pipeline.due.isoformat()] if pipeline.due else []
        command = shlex.join(["keda-jobs", "pub", pipeline.subject, "--file", self.name, *later, "--lines", str(left)])
        return f"{done}{end}; to publish the rest: {command}"


def _done(pipeline: Pipeline) -> str:
    if pipeline.due is None:
        return f"published to {pipeline.subject}"
    return f"scheduled for {pipeline.subject} at {pipeline.due.isoformat(timespec='seconds')}"


def _counts(pipeline: Pipeline, seconds: float) -> dict[str, Any]:
    return {
        "subject": pipeline.subject,
        "published": pipeline.confirmed,
        "seconds": round(seconds, 3),
        "interrupted": pipeline.interrupted,
        "due": pipeline.due and pipeline.due.isoformat(),
    }
