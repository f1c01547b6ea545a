"""Server of the page: its routes, its start and its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from keda_jobs.errors import JobError, Misconfigured
from keda_jobs.settings import PgSettings, load_settings
from keda_jobs.ui import guard
from keda_jobs.ui.actions import Busy
from keda_jobs.ui.page import UI, BadInput, Ui, render
from keda_jobs.ui.pages import (
    actions,
    batches,
    dead_letter_actions,
    dead_letters,
    failures,
    job,
    long_work,
    overview,
    schedules,
)
from keda_jobs.ui.servers import SharedNats
from keda_jobs.ui.settings import Options, ServerSettings

PAGES = (
    overview,
    job,
    dead_letters,
    dead_letter_actions,
    batches,
    failures,
    schedules,
    long_work,
    actions,
)
"""Modules of the views. Each has `routes()`."""

_STATIC = Path(__file__).parent / "static"

log = logging.getLogger(__name__)


async def serve(settings: ServerSettings, options: Options, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Serve the page until `stop`. Call `ready` with its address. Raises `Misconfigured`."""
    database = load_settings(PgSettings) if settings.pg_dsn else None
    ui = Ui(options, SharedNats(settings), database)
    async with _listening(ui) as address:
        readings = [asyncio.create_task(reading.run()) for reading in ui.readings]
        ready(address)
        await stop.wait()
        await ui.actions.close()
        await ui.searches.close()
        await ui.surveys.close()
        await ui.details.close()
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)
    await ui.nats.close()


@asynccontextmanager
async def _listening(ui: Ui) -> AsyncIterator[str]:
    runner = web.AppRunner(application(ui), access_log=None)
    await runner.setup()
    options = ui.options
    try:
        try:
            await web.TCPSite(runner, options.listen, options.port).start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise Misconfigured(
                f"{options.listen}:{options.port} cannot be used: {reason}; choose another port with --port"
            ) from error
        host, port = runner.addresses[0][:2]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def application(ui: Ui) -> web.Application:
    """Build the application."""
    app = web.Application(middlewares=[guard.harden, guard.check_host, _explain, guard.guard])
    app[UI] = ui
    app.add_routes(guard.routes())
    for page in PAGES:
        app.add_routes(page.routes())
    app.router.add_static("/static", _STATIC)
    return app


@web.middleware
async def _explain(request: web.Request, handler: guard.Handler) -> web.StreamResponse:
    """Turn an error into a page that says what happened."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < web.HTTPBadRequest.status_code:
            raise
        text = "There is no such page." if error.status == web.HTTPNotFound.status_code else error.text or error.reason
        return _error_page(request, error.status, text)
    except Busy as error:
        return _error_page(request, web.HTTPConflict.status_code, str(error))
    except BadInput as error:
        return _error_page(request, web.HTTPBadRequest.status_code, str(error))
    except JobError as error:
        return _error_page(request, web.HTTPServiceUnavailable.status_code, str(error))
    except Exception:
        log.exception("%s %s stopped by a bug", request.method, request.path)
        text = "This page has a bug. The log of `keda-jobs ui` says where."
        return _error_page(request, web.HTTPInternalServerError.status_code, text)


def _error_page(request: web.Request, status: int, text: str) -> web.Response:
    return render(request, "error.html", title="Not possible", status=status, text=text)
