"""`keda-jobs pub`: publish one event, or a file of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Annotated, BinaryIO

import typer

from keda_jobs.cli.connection import INTERRUPTED, interruptible, run
from keda_jobs.cli.event_lines import check_lines, open_lines, parse_event, read_events
from keda_jobs.cli.options import JsonOption, ServerOption
from keda_jobs.cli.terminal import print_err, print_json, progress_meter
from keda_jobs.domain.subjects import is_literal
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.pipeline import Pipeline
from keda_jobs.runtime.tracing import open_tracer
from keda_jobs.settings import TraceSettings, load_settings

# Bytes reserved for the headers of an event.
_HEADERS = 256


def pub(
    subject: Annotated[str, typer.Argument(help="Subject of the events, such as image-download.")],
    event: Annotated[
        str | None, typer.Argument(metavar="JSON", help="One event: a JSON object or a URL; - reads it from stdin.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", metavar="FILE", help="File with one event per line: JSON or URL; - reads stdin."),
    ] = None,
    json_: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Publish events and wait until the server has stored each of them.

    A line of a file is a JSON object, or a plain URL, which means `{"url": "…"}`. Empty lines and lines that begin
    with # are ignored. The whole file is checked first. If one line is wrong, nothing is published.

    Examples:

    - `keda-jobs pub image-download '{"url": "https://example.org/a.jpg"}'`

    - `keda-jobs pub image-download --file urls.txt`

    - `grep jpg urls.txt | keda-jobs pub image-download --file -`

    JSON: `{"subject", "published", "seconds", "interrupted"}`
    """
    if (event is None) == (file is None):
        raise Misconfigured("pass one event or --file")
    if not is_literal(subject):
        raise Misconfigured(f"{subject!r} is not a subject for publishing")
    with open_tracer(load_settings(TraceSettings), "keda-jobs") as tracer:
        pipeline = Pipeline(subject, tracer)
        if event is not None:
            text = typer.get_binary_stream("stdin").read() if event == "-" else os.fsencode(event)
            body = parse_event(text)
            run(server, lambda connection: _publish(connection, pipeline, [body], 1, as_json=json_))
        else:
            with open_lines(str(file)) as lines:
                run(server, lambda connection: _publish_lines(connection, pipeline, lines, as_json=json_))
    if pipeline.interrupted:
        raise typer.Exit(INTERRUPTED)


async def _publish_lines(connection: NatsConnection, pipeline: Pipeline, lines: BinaryIO, *, as_json: bool) -> None:
    max_bytes = connection.max_payload - _HEADERS
    total = check_lines(lines, max_bytes)
    events = (event for _, event in read_events(lines, max_bytes) if isinstance(event, bytes))
    await _publish(connection, pipeline, events, total, as_json=as_json)


async def _publish(
    connection: NatsConnection, pipeline: Pipeline, events: Iterable[bytes], total: int, *, as_json: bool
) -> None:
    began = time.monotonic()
    try:
        with interruptible() as stop, progress_meter("pub", total) as progress:
            await pipeline.run(connection, events, stop, progress)
    finally:
        _report(pipeline, total, time.monotonic() - began, as_json=as_json)


def _report(pipeline: Pipeline, total: int, seconds: float, *, as_json: bool) -> None:
    if as_json:
        counts = {"subject": pipeline.subject, "published": pipeline.confirmed, "seconds": round(seconds, 3)}
        print_json(counts | {"interrupted": pipeline.interrupted})
    elif pipeline.confirmed or not total:
        end = "; interrupted" if pipeline.interrupted else ""
        print_err(f"{pipeline.confirmed} of {total} published to {pipeline.subject} in {seconds:.1f} s{end}")
