"""Long work: messages that pods work on for minutes or hours, with their progress, and their cancellation."""

from __future__ import annotations

from aiohttp import web

from keda_jobs.jetstream import long_work
from keda_jobs.status.long_work import find_message
from keda_jobs.ui.page import SESSION, UI, after_action, render


def routes() -> list[web.RouteDef]:
    """Return the routes of the view."""
    return [
        web.get("/long-work", show),
        web.get("/long-work/{job}/{id}/cancel", ask),
        web.post("/long-work/{job}/{id}/cancel", cancel),
    ]


async def show(request: web.Request) -> web.Response:
    """List what runs."""
    ui = request.app[UI]
    await ui.look()
    overview = ui.streams.value
    return render(request, "long_work.html", title="Long work", works=overview.long_work if overview else None)


async def ask(request: web.Request) -> web.Response:
    """Show one work, and ask whether to cancel it."""
    ui, wanted = request.app[UI], (request.match_info["job"], request.match_info["id"])
    await ui.look()
    works = ui.streams.value.long_work if ui.streams.value else ()
    work = next((one for one in works if (one.job, one.id) == wanted), None)
    return render(request, "long_work_cancel.html", title="Cancel long work", work=work)


async def cancel(request: web.Request) -> web.Response:
    """Cancel one message. Its pod ends the handler within seconds."""
    connection, job = await request.app[UI].nats.connection(), request.match_info["job"]
    message = await find_message(connection, job, request.match_info["id"])
    await long_work.cancel(connection, message, f"{request[SESSION].who}, by keda-jobs ui")
    notice = f"{message} is cancelled: its handler ends within seconds, and it becomes a dead letter"
    return after_action(request, "/long-work", [notice])
