"""Guard of the page: who may see it, what another site may not do, and what goes into the log."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

from aiohttp import web

from keda_jobs.ui.page import LIVE, SESSION, UI, Ui, render
from keda_jobs.ui.sessions import LASTS_S, Session, is_token

FORM_KEY = "form-key"
"""Hidden field of each form."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LOCAL = "local"
_MAX_NAME = 60
_MAX_LOGGED = 1000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = logging.getLogger(__name__)


@web.middleware
async def harden(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Add the headers that bind the browser. Only files of the page itself may stay in its cache."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_HEADERS)
        error.headers["Cache-Control"] = "no-store"
        raise
    response.headers.update(_HEADERS)
    response.headers["Cache-Control"] = "no-cache" if _is_file(request) else "no-store"
    return response


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a name that another site may have pointed to this address, to read the page as its own.

    An address is no name. Behind a token every name may pass: the browser sends no cookie of ours to another one.
    """
    name = _host_name(request.headers.get("Host", ""))
    needs_token = request.app[UI].options.token is not None
    if name == "localhost" or _is_address(name) or (needs_token and name):
        return await handler(request)
    raise web.HTTPMisdirectedRequest(text="This name is not served: open the page on localhost or an IP address.\n")


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through with its session, or say what is missing."""
    ui = request.app[UI]
    if _is_file(request):
        return await handler(request)
    session = ui.sessions.find(request.cookies.get(ui.sessions.cookie, ""))
    if session is not None:
        request[SESSION] = session
    if request.method not in ("GET", "HEAD"):
        await _check_form(request, session)
        return await handler(request)
    if session is not None or request.path == "/login":
        return await handler(request)
    if ui.options.token is None:
        return await _with_new_session(request, handler)
    if LIVE in request.headers:
        raise web.HTTPUnauthorized(text="The session is over.")
    return web.Response(status=303, headers={"Location": f"/login?to={quote(request.path_qs)}"})


def routes() -> list[web.RouteDef]:
    """Return the routes of the session."""
    return [web.get("/login", _ask), web.post("/login", _log_in), web.post("/logout", _log_out)]


def _is_file(request: web.Request) -> bool:
    return request.path.startswith("/static/")


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _check_form(request: web.Request, session: Session | None) -> None:
    """Refuse a form that does not come from a page of this session, and an action where they are off."""
    ui = request.app[UI]
    is_same_site = request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
    origin = request.headers.get("Origin")
    if not is_same_site or (origin is not None and urlsplit(origin).netloc != request.headers.get("Host")):
        raise web.HTTPForbidden(text="This form comes from another site.")
    if request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPUnsupportedMediaType(text="Only forms of this page are accepted.")
    fields = await request.post()
    if request.path == "/login":
        return
    if session is None:
        raise web.HTTPForbidden(text="The session is over: open the page again, then repeat what you did.")
    if not ui.sessions.is_form_key(session, str(fields.get(FORM_KEY, ""))):
        raise web.HTTPForbidden(text="This form is not of your session: open the page again, then repeat what you did.")
    if request.path == "/logout":
        return
    if not ui.options.allow_actions:
        raise web.HTTPForbidden(text="This page is read-only: `keda-jobs ui --allow-actions` lets it act.")
    texts = [(name, value) for name, value in fields.items() if isinstance(value, str) and name != FORM_KEY]
    what = " ".join(f"{name}={value}" for name, value in texts)
    log.info("action %s %s", request.path, what[:_MAX_LOGGED], extra=_viewer(request, session))


async def _with_new_session(request: web.Request, handler: Handler) -> web.StreamResponse:
    ui = request.app[UI]
    request[SESSION] = session = ui.sessions.open(_LOCAL)
    response = await handler(request)
    _set_cookie(response, ui, session)
    return response


def _set_cookie(response: web.StreamResponse, ui: Ui, session: Session) -> None:
    response.set_cookie(
        ui.sessions.cookie, ui.sessions.seal(session), max_age=LASTS_S, httponly=True, samesite="Strict", path="/"
    )


def _viewer(request: web.Request, session: Session) -> dict[str, str]:
    return {"who": session.who, "session": session.id[:8], "peer": request.remote or ""}


async def _ask(request: web.Request) -> web.Response:
    return render(request, "login.html", title="Log in", to=_own_path(request.query.get("to", "/")), is_wrong=False)


async def _log_in(request: web.Request) -> web.Response:
    ui, fields = request.app[UI], await request.post()
    who = " ".join(str(fields.get("who", "")).split())[:_MAX_NAME]
    to = _own_path(str(fields.get("to", "/")))
    token = ui.options.token
    if token is None or not who or not is_token(token, str(fields.get("token", "")).strip()):
        log.warning("login refused", extra={"who": who, "peer": request.remote or ""})
        return render(request, "login.html", title="Log in", status=403, to=to, is_wrong=True)
    session = ui.sessions.open(who)
    log.info("login", extra=_viewer(request, session))
    response = web.Response(status=303, headers={"Location": to})
    _set_cookie(response, ui, session)
    return response


async def _log_out(request: web.Request) -> web.Response:
    response = web.Response(status=303, headers={"Location": "/"})
    response.del_cookie(request.app[UI].sessions.cookie, path="/")
    return response


def _own_path(to: str) -> str:
    """Return `to` where it is a path of this page: a browser takes one that begins with two slashes for a host."""
    return to if to.startswith("/") and to[1:2] not in ("/", "\\") and to.isprintable() else "/"
