"""The page over HTTP, about a NATS server that a test fills."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import ClientSession, CookieJar
from aiohttp.test_utils import TestServer

from keda_jobs.ui.app import application
from keda_jobs.ui.guard import FORM_KEY
from keda_jobs.ui.page import LIVE, Ui
from keda_jobs.ui.servers import SharedNats
from keda_jobs.ui.settings import Options, ServerSettings
from stack import NatsServer, until


@dataclass(frozen=True)
class Answer:
    """Answer of the page."""

    status: int
    text: str
    path: str

    @property
    def words(self) -> str:
        """Text without tags, blanks made one."""
        main = self.text.partition("<main")[2]
        return " ".join(html.unescape(re.sub("<[^>]*>", "", main.partition(">")[2])).split())


class Viewer:
    """Viewer of the page, with a session as in a browser."""

    def __init__(self, ui: Ui, session: ClientSession) -> None:
        self.ui = ui
        self._session = session

    async def get(self, path: str, *, live: bool = False) -> Answer:
        async with self._session.get(path, headers={LIVE: "1"} if live else {}) as response:
            return Answer(response.status, await response.text(), response.url.path_qs)

    async def get_bytes(self, path: str) -> bytes:
        async with self._session.get(path) as response:
            return await response.read()

    async def until(self, path: str, is_there: Callable[[Answer], object]) -> Answer:
        """Refresh the page until it has what is awaited."""
        answer = await self.get(path, live=True)

        async def look() -> bool:
            nonlocal answer
            answer = await self.get(path, live=True)
            return bool(is_there(answer))

        await until(look)
        return answer

    async def post(self, path: str, fields: Mapping[str, str] | Sequence[tuple[str, str]] = ()) -> Answer:
        """Send a form with the session's key, and follow the answer."""
        await self.get("/actions")
        [cookie] = self._session.cookie_jar
        session = self.ui.sessions.find(cookie.value)
        assert session is not None
        named = fields.items() if isinstance(fields, Mapping) else fields
        pairs = [*named, (FORM_KEY, self.ui.sessions.form_key(session))]
        async with self._session.post(path, data=pairs) as response:
            return Answer(response.status, await response.text(), response.url.path_qs)


StartViewer = Callable[..., Awaitable[Viewer]]


@asynccontextmanager
async def serving(server: NatsServer, *, allow_actions: bool = True, **settings: str) -> AsyncIterator[Viewer]:
    """Serve the page about a NATS server, and yield its viewer. `settings` are of the login."""
    server_settings = ServerSettings.model_validate({"nats_url": server.url} | settings)
    ui = Ui(Options("127.0.0.1", 0, allow_actions, None), SharedNats(server_settings), None)
    async with TestServer(application(ui)) as page:
        async with ClientSession(page.make_url("/"), cookie_jar=CookieJar(unsafe=True)) as session:
            yield Viewer(ui, session)
        await ui.actions.close()
        await ui.searches.close()
        await ui.surveys.close()
        await ui.details.close()
    await ui.nats.close()


@pytest.fixture
async def start_viewer(nats_server: NatsServer) -> AsyncIterator[StartViewer]:
    """Return a function that serves the page and returns its viewer: `await start_viewer(allow_actions=False)`."""
    async with AsyncExitStack() as stack:

        async def start(*, allow_actions: bool = True, **settings: str) -> Viewer:
            return await stack.enter_async_context(serving(nats_server, allow_actions=allow_actions, **settings))

        yield start


@pytest.fixture
async def viewer(declare: Callable[[], Awaitable[None]], start_viewer: StartViewer) -> Viewer:
    """Serve the page, which may act, with the declared streams and consumers."""
    await declare()
    return await start_viewer()
