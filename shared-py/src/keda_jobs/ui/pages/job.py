"""A job: its curves, its waiting retries, its consumer, its latest failures."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from keda_jobs.jetstream.dead_letter_search import DeadLetterSearch
from keda_jobs.ui.curves import curve
from keda_jobs.ui.dead_letter_query import DeadLetterQuery
from keda_jobs.ui.history import History
from keda_jobs.ui.job_details import JobDetails, by_class, timeline
from keda_jobs.ui.jobs import JobRow, batch_rows, event_rows
from keda_jobs.ui.page import UI, Ui, render

_NEWEST = 50


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
    details = await _event_details(ui, name, now) if row and row.unit == "events" else {}
    status = 200 if row else 404
    return render(request, "job.html", title=name, status=status, name=name, row=row, curves=curves, **details)


async def _event_details(ui: Ui, name: str, now: datetime) -> dict[str, Any]:
    """Return what only a job that reads events has."""
    query = DeadLetterQuery(job=name)
    question = query.selection(), None
    (details, error), (search, search_error) = await asyncio.gather(
        ui.details.look(name, lambda: JobDetails(name)),
        ui.searches.look(question, lambda: DeadLetterSearch(*question, _NEWEST)),
    )
    due = details.due
    return {
        "query": query,
        "error": error or search_error,
        "due": due,
        "timeline": timeline(due.times, now) if due else None,
        "consumer": details.settings,
        "search": search,
        "failures": by_class(search.found),
    }


def _find(ui: Ui, name: str) -> tuple[JobRow | None, History]:
    if ui.streams.value:
        for row in event_rows(ui.streams.value, ui.events_history):
            if row.name == name:
                return row, ui.events_history
    queues = ui.queues.value if ui.queues else None
    return next((row for row in batch_rows(queues or ()) if row.name == name), None), ui.rows_history
