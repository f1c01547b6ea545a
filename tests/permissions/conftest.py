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

from .secrets_tool import NOTHING, by_name, content, made_of

Login = Callable[[str], AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session")
def made() -> dict[str, Any]:
    """Run the tool for an empty cluster."""
    return made_of(NOTHING)


@pytest.fixture
def server(tmp_path: Path, made: dict[str, Any]) -> Iterator[NatsServer]:
    """Start a server with these users and the declared stream and consumers."""
    server = NatsServer(tmp_path / "nats", extra=content(by_name(made)["nats-auth"])["auth.conf"])
    server.start()
    admin = content(by_name(made)["nats-admin"])
    url = server.url.replace("//", f"//{admin['NATS_USER']}:{admin['NATS_PASSWORD']}@")
    asyncio.run(apply_streams(url))
    yield server
    server.kill()


@pytest.fixture
def login(server: NatsServer, made: dict[str, Any]) -> Login:
    """Return a context manager that connects as a user, like jobs and tools do."""

    @asynccontextmanager
    async def connected(user: str) -> AsyncIterator[Client]:
        secret = content(by_name(made)[f"nats-{user}"])
        settings = NatsSettings(
            nats_url=server.url, nats_user=secret["NATS_USER"], nats_password=secret["NATS_PASSWORD"]
        )
        async with connect(settings, name=user, wait=True) as connection:
            yield connection.client

    return connected
