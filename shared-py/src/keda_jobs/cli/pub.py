"""`keda-jobs pub`: publish one event, or a file of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Annotated, BinaryIO

import typer

from keda_jobs.cli.connection import INTERRUPTED, run
from keda_jobs.cli.event_lines import check, events_of, opened, parse_event
from keda_jobs.cli.options import JsonOption, ServerOption
from keda_jobs.cli.pipeline import Pipeline
from keda_jobs.cli.terminal import print_err, print_json
from keda_jobs.domain.subjects import is_literal
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.connection import Client
from keda_jobs.runtime.tracing import open_tracer
from keda_jobs.settings import TraceSettings, load_settings

# Room for the headers that go with each event.
_HEADERS = 256


def pub(
    subject: Annotated[str, typer.Argument(help="Subject of the events, such as image-download.")],
    event: Annotated[
        str | None, typer.Argument(metavar="JSON", help="One event: a JSON object or a URL; - reads it from stdin.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="A line an event: JSON or URL; - reads stdin.")
    ] = None,
    json_: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Publish events and wait until the server has stored each of them.

    A line of a file is a JSON object, or a plain URL, which stands for `{"url": "…"}`; empty lines and lines that begin
    with # are passed over. The whole file is checked first: when one line is wrong, nothing is published.

    Examples:

    - `keda-jobs pub image-download '{"url": "https://example.org/a.jpg"}'`

    - `keda-jobs pub image-download --file urls.txt`

    - `grep jpg urls.txt | keda-jobs pub image-download --file -`

    JSON: `{"subject", "published", "seconds", "interrupted"}`
    """
    if (event is None) == (file is None):
        raise Misconfigured("give one event or --file")
    if not is_literal(subject):
        raise Misconfigured(f"{subject!r} is not a subject that can be published on")
    with open_tracer(load_settings(TraceSettings), "keda-jobs") as tracer:
        pipeline = Pipeline(subject, tracer)
        if event is not None:
            one = parse_event(typer.get_binary_stream("stdin").read() if event == "-" else os.fsencode(event))
            run(server, lambda client: _publish(client, pipeline, [one], 1, as_json=json_))
        else:
            with opened(str(file)) as lines:
                run(server, lambda client: _publish_lines(client, pipeline, lines, as_json=json_))
    if pipeline.interrupted:
        raise typer.Exit(INTERRUPTED)


async def _publish_lines(client: Client, pipeline: Pipeline, lines: BinaryIO, *, as_json: bool) -> None:
    most = client.max_payload - _HEADERS
    total = check(lines, most)
    events = (event for _, event in events_of(lines, most) if isinstance(event, bytes))
    await _publish(client, pipeline, events, total, as_json=as_json)


async def _publish(client: Client, pipeline: Pipeline, events: Iterable[bytes], total: int, *, as_json: bool) -> None:
    began = time.monotonic()
    try:
        await pipeline.run(client, events, total)
    finally:
        seconds = round(time.monotonic() - began, 3)
        if as_json:
            shown = {"subject": pipeline.subject, "published": pipeline.confirmed, "seconds": seconds}
            print_json(shown | {"interrupted": pipeline.interrupted})
        elif pipeline.confirmed or not total:
            end = "; interrupted" if pipeline.interrupted else ""
            print_err(f"{pipeline.confirmed} of {total} published to {pipeline.subject} in {seconds:.1f} s{end}")
