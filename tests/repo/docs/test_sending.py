"""The views of docs/sending.md send events as they stand."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import pytest
from django.conf import settings
from django.test import RequestFactory
from fastapi import FastAPI

from keda_jobs.domain.subjects import STREAM
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import NatsServer
from stack.streams import apply_streams

PAGE = Path(__file__).parents[3] / "docs" / "sending.md"
URL = "https://example.org/a.jpg"

LoadView = Callable[[str], ModuleType]


@pytest.fixture
def view(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> LoadView:
    """Return the module that the page shows for a framework. It finds the server in its environment."""
    asyncio.run(apply_streams(nats_server.url))
    monkeypatch.setenv("NATS_URL", nats_server.url)

    def load(framework: str) -> ModuleType:
        found = re.search(rf"## In a {framework} view\n\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert found
        module = ModuleType(f"shop_{framework.lower()}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(found[1], str(PAGE), "exec"), module.__dict__)  # noqa: S102
        return module

    return load


async def stored(server: NatsServer) -> list[dict[str, Any]]:
    settings = NatsSettings.model_construct(nats_url=server.url)
    async with connect(settings, name="test", wait=False) as connection:
        count = (await connection.jetstream.stream_info(STREAM)).state.messages
        return [
            json.loads((await connection.jetstream.get_msg(STREAM, number + 1)).data or b"") for number in range(count)
        ]


async def post(app: FastAPI, path: str, query: str) -> tuple[int, Any]:
    """Send a request to `app` as a server would, and return status and body of the answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    request = {"type": "http", "method": "POST", "path": path, "query_string": query.encode(), "headers": []}
    async with app.router.lifespan_context(app):
        await app({**request, "asgi": {"version": "3.0"}, "http_version": "1.1"}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_the_fastapi_view(view: LoadView, nats_server: NatsServer) -> None:
    app = view("FastAPI").app
    assert asyncio.run(post(app, "/orders/17/picture", f"url={URL}")) == (202, {"id": "order-17"})
    assert asyncio.run(stored(nats_server)) == [{"url": URL}]


def test_the_django_view(view: LoadView, nats_server: NatsServer) -> None:
    if not settings.configured:
        settings.configure(DEFAULT_CHARSET="utf-8")
        django.setup()
    shop = view("Django")
    for _ in range(2):
        answer = shop.order_picture(RequestFactory().post("/orders/17/picture", {"url": URL}), 17)
        assert (answer.status_code, json.loads(answer.content)) == (202, {"id": "order-17"})
    shop.jobs().close()
    assert asyncio.run(stored(nats_server)) == [{"url": URL}]


def test_the_first_event(nats_server: NatsServer) -> None:
    asyncio.run(apply_streams(nats_server.url))
    found = re.search(r"first.py <<'END'\n(.*?)\nEND", PAGE.read_text(), re.DOTALL)
    assert found
    program = found[1].replace("nats://localhost:4222", nats_server.url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "Receipt(stream='keda-jobs-events', sequence=1, id='first', duplicate=False)\n"
    assert len(asyncio.run(stored(nats_server))) == 1
