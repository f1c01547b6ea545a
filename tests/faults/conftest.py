"""What every fault is done to: an origin, the stream seen from outside, and a traffic of pictures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import JobProcess, NatsServer, S3Server

from .faulty_store import FaultyStore
from .origin import Origin
from .processes import StartJob
from .stream_view import StreamView
from .traffic import Traffic


@pytest.fixture(scope="session")
def full_size(pytestconfig: pytest.Config) -> bool:
    """Return whether faults strike among as many rows and pictures as CI takes."""
    return bool(pytestconfig.getoption("full_size"))


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """Start a web server that the downloads may ask."""
    async with Origin() as server:
        yield server


@pytest.fixture
async def faulty_store(s3_server: S3Server) -> AsyncIterator[FaultyStore]:
    """Start a proxy in front of the S3 server."""
    async with FaultyStore(s3_server.url) as store:
        yield store


@pytest.fixture
async def stream(nats_server: NatsServer) -> AsyncIterator[StreamView]:
    """Return a view of the stream. Its connection survives restarts of the server."""
    async with connect(NatsSettings(nats_url=nats_server.url), name="faults", wait=True) as connection:
        yield StreamView(connection, nats_server)


@pytest.fixture
def traffic(origin: Origin, stream: StreamView, s3_server: S3Server) -> Traffic:
    """Return the traffic of pictures for image-download."""
    return Traffic(origin, stream, s3_server.bucket_folder)


@pytest.fixture
def start(start_job: Callable[..., JobProcess], origin: Origin) -> StartJob:
    """Return a function that starts a job that may ask `origin`: `await start("image-download", ACK_WAIT_S="2")`."""

    async def started(job: str, **environment: str) -> JobProcess:
        allowed = {"DOWNLOAD_ALLOW_ADDRESSES": origin.address}
        return await asyncio.to_thread(start_job, job, **allowed, **environment)

    return started
