"""What every page has: the numbers, the connection, the viewer's session, and the templates."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jinja2
from aiohttp import web

from keda_jobs.errors import JobError
from keda_jobs.jetstream.dead_letter_search import DeadLetterSearch
from keda_jobs.jetstream.dead_letters import DeadLetterSurvey
from keda_jobs.jetstream.schedules import Schedule
from keda_jobs.settings import PgSettings
from keda_jobs.status.batch import BatchStatus
from keda_jobs.status.overview import Overview
from keda_jobs.ui.actions import Actions
from keda_jobs.ui.history import History
from keda_jobs.ui.job_details import JobDetails
from keda_jobs.ui.jobs import event_points, row_points
from keda_jobs.ui.kept import KeptAnswers
from keda_jobs.ui.lookups import Lookups
from keda_jobs.ui.readings import QueuesReader, Reading, StreamsReader
from keda_jobs.ui.row_query import FoundRows
from keda_jobs.ui.servers import SharedNats
from keda_jobs.ui.sessions import Session, Sessions
from keda_jobs.ui.settings import Options
from keda_jobs.ui.text import FILTERS

LIVE = "Keda-Jobs-Live"
"""Header of a request by which the page's script refreshes the page."""
NAVIGATION = (
    ("/", "Overview"),
    ("/dead-letters", "Dead letters"),
    ("/batches", "Batches"),
    ("/schedules", "Schedules"),
    ("/long-work", "Long work"),
)
"""Paths and titles of the views."""

_MAX_NOTICES = 100


class BadInput(JobError):
    """What a viewer has typed cannot be used."""


@dataclass(frozen=True, slots=True)
class Notices:
    """Results of actions, each shown once to the viewer who asked for it."""

    _by_session: OrderedDict[str, list[str]] = field(default_factory=OrderedDict)

    def add(self, session: Session, text: str) -> None:
        """Keep a notice until the viewer's next page."""
        self._by_session.setdefault(session.id, []).append(text)
        if len(self._by_session) > _MAX_NOTICES:
            self._by_session.popitem(last=False)

    def take(self, session: Session) -> list[str]:
        """Return the viewer's notices, and forget them."""
        return self._by_session.pop(session.id, [])


class Ui:
    """State of the page's server. `database` and `queues` are None without PG_DSN."""

    def __init__(self, options: Options, nats: SharedNats, database: PgSettings | None) -> None:
        self.options = options
        self.nats = nats
        self.database = database
        self.sessions = Sessions()
        self.notices = Notices()
        self.actions = Actions()
        self.searches: Lookups[DeadLetterSearch] = Lookups(nats)
        self.surveys: Lookups[DeadLetterSurvey] = Lookups(nats)
        self.details: Lookups[JobDetails] = Lookups(nats)
        self.events_history = History()
        self.rows_history = History()
        self.streams: Reading[Overview] = Reading("NATS", StreamsReader(nats).read, self._keep_events)
        self.queues_reader = QueuesReader(database) if database else None
        self.queues: Reading[tuple[BatchStatus, ...]] | None = (
            Reading("PostgreSQL", self.queues_reader.read, self._keep_rows) if self.queues_reader else None
        )
        self.failed_rows: KeptAnswers[FoundRows] = KeptAnswers()
        self.schedules: KeptAnswers[tuple[list[Schedule], int]] = KeptAnswers()
        self._templates = _templates()

    @property
    def readings(self) -> list[Reading[Any]]:
        """Readings of all servers."""
        return [self.streams, *([self.queues] if self.queues else [])]

    async def look(self) -> None:
        """Note that somebody looks at the numbers, and wait a moment for the first ones."""
        await asyncio.gather(*(reading.look() for reading in self.readings))

    def html(self, template: str, **fields: Any) -> str:
        """Render a template. All text in it is escaped."""
        return self._templates.get_template(template).render(fields)

    def _keep_events(self, overview: Overview) -> None:
        self.events_history.add(event_points(overview))

    def _keep_rows(self, batches: tuple[BatchStatus, ...]) -> None:
        self.rows_history.add(row_points(batches))


UI = web.AppKey("ui", Ui)
SESSION = web.RequestKey("session", Session)


def render(request: web.Request, template: str, *, title: str, status: int = 200, **fields: Any) -> web.Response:
    """Render a page with the layout around it."""
    ui = request.app[UI]
    session = request.get(SESSION)
    is_live = LIVE in request.headers
    html = ui.html(
        template,
        title=title,
        path=request.path,
        navigation=NAVIGATION,
        may_act=ui.options.allow_actions,
        has_login=ui.options.token is not None,
        readings=ui.readings,
        running=ui.actions.running,
        session=session,
        form_key=ui.sessions.form_key(session) if session else "",
        notices=ui.notices.take(session) if session and not is_live else [],
        now=datetime.now(UTC),
        **fields,
    )
    return web.Response(text=html, status=status, content_type="text/html")


def after_action(request: web.Request, path: str, notices: Iterable[str] = ()) -> web.Response:
    """Answer an action: the browser goes on to `path`, which shows the notices."""
    for notice in notices:
        request.app[UI].notices.add(request[SESSION], notice)
    return web.Response(status=303, headers={"Location": path})


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keda_jobs.ui"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment
