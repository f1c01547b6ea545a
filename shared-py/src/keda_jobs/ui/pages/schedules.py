"""Schedules: events that NATS publishes later, and their cancellation."""

from __future__ import annotations

from aiohttp import web

from keda_jobs.domain.schedule import DECLARED
from keda_jobs.jetstream.schedules import (
    Schedule,
    cancel_schedule,
    earliest_first,
    find_schedule,
    read_first_schedules,
)
from keda_jobs.ui.page import UI, after_action, render

_MOST_READ = 1000
_MOST_SHOWN = 100


def routes() -> list[web.RouteDef]:
    """Return the routes of the view."""
    return [
        web.get("/schedules", show),
        web.get("/schedules/{sequence:[0-9]{1,18}}/cancel", ask),
        web.post("/schedules/{sequence:[0-9]{1,18}}/cancel", cancel),
    ]


async def show(request: web.Request) -> web.Response:
    """List the schedules that are due next, of those that were stored first."""
    ui = request.app[UI]
    await ui.look()

    async def read() -> tuple[list[Schedule], int]:
        found, total = await read_first_schedules(await ui.nats.connection(), _MOST_READ)
        return earliest_first(found), total

    found, total = await ui.schedules.get("first", read)
    return render(
        request,
        "schedules.html",
        title="Schedules",
        schedules=found[:_MOST_SHOWN],
        total=total,
        is_all_read=len(found) == total,
    )


async def ask(request: web.Request) -> web.Response:
    """Show one schedule, and ask whether to cancel it."""
    schedule = await _find(request)
    is_declared = schedule is not None and schedule.sender == DECLARED
    return render(request, "schedule.html", title="Cancel an event", schedule=schedule, is_declared=is_declared)


async def cancel(request: web.Request) -> web.Response:
    """Cancel one schedule."""
    ui, schedule = request.app[UI], await _find(request)
    is_cancelled = schedule is not None and await cancel_schedule(await ui.nats.connection(), schedule.sequence)
    ui.schedules.forget()
    result = "cancelled" if is_cancelled else "not cancelled: it has been published or replaced meanwhile"
    name = f"{schedule.subject} {schedule.key}" if schedule else "The event"
    return after_action(request, "/schedules", [f"{name}: {result}"])


async def _find(request: web.Request) -> Schedule | None:
    connection = await request.app[UI].nats.connection()
    return await find_schedule(connection, int(request.match_info["sequence"]))
