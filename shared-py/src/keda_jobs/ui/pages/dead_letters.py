"""Dead letters: filter them, page through them, open one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime

from aiohttp import web

from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import DEAD_LETTER
from keda_jobs.jetstream.dead_letter_search import DeadLetterSearch
from keda_jobs.jetstream.dead_letters import find_dead_letter
from keda_jobs.jetstream.replay import read_original
from keda_jobs.ui.dead_letter_query import DeadLetterQuery, parse_sequence
from keda_jobs.ui.json_text import indent
from keda_jobs.ui.page import LIVE, UI, BadInput, render

_PAGE = 50
_SHOWN = 20_000
_TRACE = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*", re.DOTALL)


def routes() -> list[web.RouteDef]:
    """Return the routes of the view."""
    return [
        web.get("/dead-letters", show_page),
        web.get("/dead-letters/{sequence:[0-9]{1,18}}", show),
        web.get("/dead-letters/{sequence:[0-9]{1,18}}/event", download),
    ]


async def show_page(request: web.Request) -> web.Response:
    """Show a page of dead letters, the newest first."""
    ui, query, search, error, status = request.app[UI], DeadLetterQuery(), None, "", 200
    try:
        query = DeadLetterQuery.parse(request.query)
        question = query.selection(), query.before
        (search, error), _ = await asyncio.gather(
            ui.searches.look(question, lambda: DeadLetterSearch(*question, _PAGE)), ui.look()
        )
    except BadInput as bad:
        error, status = str(bad), 400
    jobs = sorted(job for job in ui.streams.value.dead_letters.by_job if job) if ui.streams.value else []
    return render(
        request,
        "dead_letters.html",
        title="Dead letters",
        status=status,
        query=query,
        search=search,
        error=error,
        jobs=jobs,
    )


async def show(request: web.Request) -> web.Response:
    """Show one dead letter completely."""
    sequence = parse_sequence(request.match_info["sequence"])
    dead = await find_dead_letter(await request.app[UI].nats.connection(), sequence)
    title = f"Dead letter {sequence}"
    if dead is None:
        return render(request, "dead_letter_gone.html", title=title, status=404, sequence=sequence)
    is_raw = request.query.get("view") == "raw"
    # Its data never changes, so a refresh leaves it as it is.
    data = "" if LIVE in request.headers else dead.text if is_raw else indent(dead.text)
    return render(
        request,
        "dead_letter.html",
        title=title,
        dead=dead,
        query=DeadLetterQuery(),
        data=data,
        is_raw=is_raw,
        shown=_SHOWN,
        published_at=_moment(dead.headers, Header.PUBLISHED_AT),
        message=dead.headers.get(Header.SEQUENCE, ""),
        size=dead.headers.get(Header.SIZE, ""),
        trace_id=_trace_id(dead),
    )


async def download(request: web.Request) -> web.Response:
    """Send the event as it was published, to the byte. Raises `CannotReplay` where nothing holds it exactly."""
    sequence = parse_sequence(request.match_info["sequence"])
    connection = await request.app[UI].nats.connection()
    dead = await find_dead_letter(connection, sequence)
    if dead is None:
        raise web.HTTPNotFound
    data, _headers = await read_original(connection, dead)
    name = f'attachment; filename="{DEAD_LETTER}-{sequence}.bin"'
    return web.Response(body=data, content_type="application/octet-stream", headers={"Content-Disposition": name})


def _moment(headers: Mapping[str, str], name: str) -> datetime | None:
    """Return the time in a header, None where there is none."""
    try:
        moment = datetime.fromisoformat(headers.get(name, ""))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _trace_id(dead: DeadLetter) -> str:
    """Return the id of the trace that the event belongs to, from its W3C `traceparent`."""
    for name, value in dead.original_headers.items():
        if name.lower() == "traceparent" and (match := _TRACE.fullmatch(value)):
            return match[1]
    return ""
