"""Overview: every job as a row, and the streams."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from keda_jobs.ui.curves import curve
from keda_jobs.ui.jobs import batch_rows, event_rows
from keda_jobs.ui.page import UI, render


def routes() -> list[web.RouteDef]:
    """Return the routes of the view."""
    return [web.get("/", show)]


async def show(request: web.Request) -> web.Response:
    """Show the overview."""
    ui = request.app[UI]
    await ui.look()
    streams, queues = ui.streams.value, ui.queues.value if ui.queues else None
    rows = [(row, ui.events_history) for row in (event_rows(streams, ui.events_history) if streams else ())]
    rows += [(row, ui.rows_history) for row in (batch_rows(queues) if queues else ())]
    now = datetime.now(UTC)
    return render(
        request,
        "overview.html",
        title="Overview",
        streams=streams,
        has_database=ui.queues is not None,
        rows=[(row, curve(history.points(row.name, now), lambda point: point.lag, now)) for row, history in rows],
    )
