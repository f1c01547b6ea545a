"""A job: its curves, its waiting retries, its consumer, its latest failures."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from keda_jobs.ui.curves import curve
from keda_jobs.ui.history import History
from keda_jobs.ui.jobs import JobRow, batch_rows, event_rows
from keda_jobs.ui.page import UI, Ui, render


def routes() -> list[web.RouteDef]:
    """Return the routes of the view."""
    return [web.get("/jobs/{job}", show)]


async def show(request: web.Request) -> web.Response:
    """Show one job."""
    ui, name = request.app[UI], request.match_info["job"]
    await ui.look()
    row, history = _find(ui, name)
    now = datetime.now(UTC)
    points = history.points(name, now)
    curves = {
        "lag": curve(points, lambda point: point.lag, now),
        "in flight": curve(points, lambda point: point.in_flight, now),
        "waiting retries": curve(points, lambda point: point.waiting, now),
        "dead letters" if row and row.unit == "events" else "failed": curve(points, lambda point: point.dead, now),
    }
    return render(request, "job.html", title=name, status=200 if row else 404, name=name, row=row, curves=curves)


def _find(ui: Ui, name: str) -> tuple[JobRow | None, History]:
    if ui.streams.value:
        for row in event_rows(ui.streams.value, ui.events_history):
            if row.name == name:
                return row, ui.events_history
    queues = ui.queues.value if ui.queues else None
    return next((row for row in batch_rows(queues or ()) if row.name == name), None), ui.rows_history
