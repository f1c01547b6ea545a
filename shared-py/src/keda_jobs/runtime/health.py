"""`/healthz`, `/readyz` and `/metrics` over HTTP, for Kubernetes and Prometheus."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from keda_jobs.errors import Misconfigured

Probe = Callable[[], str | None]
"""Returns what is wrong, or None."""

Refresh = Callable[[], Awaitable[None]]
"""Updates a registry that does not count by itself."""

log = logging.getLogger(__name__)

Answer = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def serve_probes(
    port: int,
    registry: CollectorRegistry,
    *,
    alive: Probe = lambda: None,
    ready: Probe = lambda: None,
    refresh: Refresh | None = None,
) -> AsyncIterator[None]:
    """Serve the probes and metrics on all interfaces. `refresh` runs before each scrape.

    Raises `Misconfigured` when the port is taken.
    """
    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", _probe(alive)),
            web.get("/readyz", _probe(ready)),
            web.get("/metrics", _metrics(registry, refresh)),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, port=port).start()
        except OSError as error:
            raise Misconfigured(f"HTTP_PORT {port} cannot be used: {error.strerror}; choose another") from error
        log.info("probes and metrics on port %d", runner.addresses[0][1])
        yield
    finally:
        await runner.cleanup()


def _probe(probe: Probe) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        trouble = probe()
        return web.Response(status=503 if trouble else 200, text=f"{trouble or 'ok'}\n")

    return answer


def _metrics(registry: CollectorRegistry, refresh: Refresh | None) -> Answer:
    """Answer in the text format, or in OpenMetrics for a client that accepts it. Only that has exemplars."""

    async def answer(request: web.Request) -> web.Response:
        if refresh is not None:
            await refresh()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    return answer
