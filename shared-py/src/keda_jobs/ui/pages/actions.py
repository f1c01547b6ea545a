"""Long actions: what runs and how far it is, and how the last ones ended."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from keda_jobs.ui.actions import Action, Work
from keda_jobs.ui.page import SESSION, UI, after_action, render


def routes() -> list[web.RouteDef]:
    """Return the routes of the view."""
    return [
        web.get("/actions", show_all),
        web.get("/actions/{id}", show),
        web.post("/actions/{id}/stop", stop),
    ]


async def run_action(request: web.Request, action: Action, work: Work) -> web.Response:
    """Start an action. The browser goes on to its page, or straight back where it has ended within a moment."""
    if not await request.app[UI].actions.start(action, work):
        return after_action(request, action.path)
    if action.error or action.notes:
        return after_action(request, action.path)
    return after_action(request, action.back, [action.result])


def new_action(request: web.Request, title: str, back: str, total: int | None) -> Action:
    """Build an action of the viewer."""
    return Action(title, request[SESSION].who, back, total)


async def show_all(request: web.Request) -> web.Response:
    """List the actions of this process."""
    return render(request, "actions.html", title="Actions", actions=request.app[UI].actions.newest_first)


async def show(request: web.Request) -> web.Response:
    """Show one action."""
    action = _find(request)
    seconds = ((action.ended_at or datetime.now(UTC)) - action.started_at).total_seconds()
    return render(request, "action.html", title=action.title, action=action, seconds=seconds)


async def stop(request: web.Request) -> web.Response:
    """Ask an action to end after what it is doing."""
    action = _find(request)
    action.stop.set()
    return after_action(request, action.path)


def _find(request: web.Request) -> Action:
    action = request.app[UI].actions.find(request.match_info["id"])
    if action is None:
        raise web.HTTPNotFound
    return action
