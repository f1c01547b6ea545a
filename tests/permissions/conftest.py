"""A server with the users of the cluster, and connections as each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import NatsServer
from stack.streams import apply_streams

from .secrets_tool import NOTHING, by_name, content, made_of, settings_of

Login = Callable[[str], AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session")
def made() -> dict[str, Any]:
    """Run the tool for an empty cluster."""
    return made_of(NOTHING)


@pytest.fixture
def empty_server(tmp_path: Path, made: dict[str, Any]) -> Iterator[NatsServer]:
    """Start a server with these users and no stream."""
    server = NatsServer(tmp_path / "nats", extra=content(by_name(made)["nats-auth"])["auth.conf"])
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(empty_server: NatsServer, made: dict[str, Any]) -> NatsServer:
    """Start a server with these users and the declared stream and consumers."""
    admin = content(by_name(made)["nats-admin"])
    url = empty_server.url.replace("//", f"//{admin['NATS_USER']}:{admin['NATS_PASSWORD']}@")
    asyncio.run(apply_streams(url))
    return empty_server


@pytest.fixture
def login(server: NatsServer, made: dict[str, Any]) -> Login:
    """Return a context manager that connects as a user, like jobs and tools do."""

    @asynccontextmanager
    async def connected(user: str) -> AsyncIterator[Client]:
        settings = NatsSettings(**settings_of(server, made, user))
        async with connect(settings, name=user, wait=True) as connection:
            yield connection.client

    return connected
