"""Guard of the page over HTTP: names, sessions, forms, and what the browser may do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, CookieJar
from aiohttp.test_utils import TestServer

from keda_jobs.ui.app import application
from keda_jobs.ui.page import LIVE, Ui
from keda_jobs.ui.servers import SharedNats
from keda_jobs.ui.settings import Options, ServerSettings

TOKEN = "0123456789abcdef"
NOWHERE = "nats://127.0.0.1:1"


@pytest.fixture
async def session(request: pytest.FixtureRequest) -> AsyncIterator[ClientSession]:
    """Serve the page, with the options that the test asks for, and yield a browser's session."""
    options: Options = getattr(request, "param", Options("127.0.0.1", 0, allow_actions=True, token=None))
    ui = Ui(options, SharedNats(ServerSettings.model_validate({"nats_url": NOWHERE})), None)
    async with TestServer(application(ui)) as server:
        async with ClientSession(server.make_url("/"), cookie_jar=CookieJar(unsafe=True)) as made:
            yield made
        await ui.actions.close()


def with_options(*, allow_actions: bool, token: str | None) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("session", [Options("127.0.0.1", 0, allow_actions, token)], indirect=True)


async def form_key(session: ClientSession) -> str:
    async with session.get("/actions") as answer:
        found = re.search(r'name="form-key" value="(\w+)"', await answer.text())
    return found[1] if found else ""


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8090", "[", ""])
async def test_another_name_is_refused_without_a_word_of_the_page(session: ClientSession, host: str) -> None:
    async with session.get("/", headers={"Host": host}) as answer:
        assert answer.status in (400, 421)
        assert "<main" not in await answer.text()


@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:8090", "10.0.0.7:80"])
async def test_localhost_and_addresses_are_served(session: ClientSession, host: str) -> None:
    async with session.get("/", headers={"Host": host}) as answer:
        assert answer.status == 200


async def test_no_answer_lets_the_browser_run_more_than_the_script_of_the_page(session: ClientSession) -> None:
    for path in ("/", "/no-such-page", "/static/page.js"):
        async with session.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self';" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == ("no-cache" if "static" in path else "no-store")


async def test_the_cookie_is_for_no_script_and_no_other_site(session: ClientSession) -> None:
    async with session.get("/") as answer:
        assert "HttpOnly" in answer.headers["Set-Cookie"]
        assert "SameSite=Strict" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
async def test_a_form_of_another_site_is_refused(session: ClientSession, headers: dict[str, str]) -> None:
    async with session.post("/logout", data={"form-key": await form_key(session)}, headers=headers) as answer:
        assert answer.status == 403


async def test_a_form_without_the_key_of_the_session_is_refused(session: ClientSession) -> None:
    await form_key(session)
    for fields in ({}, {"form-key": ""}, {"form-key": "é" * 64}):
        async with session.post("/logout", data={**fields, "other": "1"}) as answer:
            assert answer.status == 403


@with_options(allow_actions=True, token=TOKEN)
async def test_with_a_token_nothing_shows_before_the_login(session: ClientSession) -> None:
    async with session.get("/jobs/a?b=1") as answer:
        assert (answer.url.path, answer.url.query["to"]) == ("/login", "/jobs/a?b=1")
        assert "is away" not in await answer.text()
    async with session.get("/", headers={LIVE: "1"}) as answer:
        assert answer.status == 401


@with_options(allow_actions=True, token=TOKEN)
async def test_the_token_opens_a_session_and_leads_to_no_other_site(session: ClientSession) -> None:
    wrong = {"who": "ann", "token": "wrong", "to": "/"}
    async with session.post("/login", data=wrong) as answer:
        assert answer.status == 403
    async with session.post("/login", data={"who": " ", "token": TOKEN, "to": "/"}) as answer:
        assert answer.status == 403
    right = {"who": "ann", "token": TOKEN, "to": "//evil.example"}
    async with session.post("/login", data=right, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/")
    async with session.get("/") as answer:
        assert answer.url.path == "/"
