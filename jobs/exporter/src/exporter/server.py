"""View of a NATS server over HTTP: its streams, its storage and its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import aiohttp

from exporter.snapshots import ServerSnapshot, Storage
from keda_jobs.domain.subjects import STREAM, STREAMS
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import Info

# Both "stream write error" and "node write error", which three servers say.
_WRITE_ERROR = "write error"


async def read_server(monitoring_url: str) -> ServerSnapshot:
    """Ask a server at its monitoring address. Raises `BrokerUnavailable`."""
    try:
        # Where the address is that of several servers, a session stays with one of them.
        async with aiohttp.ClientSession() as session:
            server = await _get_json(session, f"{monitoring_url}/jsz?streams=true&config=true")
            general = await _get_json(session, f"{monitoring_url}/varz")
            # The answer has the errors, also with its status 503.
            health = await _get_json(session, f"{monitoring_url}/healthz?details=true", of_any_status=True)
    except aiohttp.ClientError as error:
        raise BrokerUnavailable(f"NATS_MONITORING_URL: {error}") from error
    streams = {stream["name"]: stream for stream in _streams(server)}
    return ServerSnapshot(
        has_leader={name: bool((stream.get("cluster") or {}).get("leader")) for name, stream in streams.items()},
        write_failed={name: name in _write_errors(health) for name in streams},
        storage=_storage(server, streams.get(STREAM)),
        certificate_expires_at=_expiry(general),
    )


def _streams(server: Info) -> Iterator[Info]:
    """Yield our streams. An account of somebody else may have streams of other names."""
    for account in server.get("account_details") or []:
        yield from (stream for stream in account.get("stream_detail") or [] if stream["name"] in STREAMS)


def _write_errors(health: Info) -> set[str]:
    errors = health.get("errors") or []
    return {error["stream"] for error in errors if "stream" in error and _WRITE_ERROR in error["error"]}


def _storage(server: Info, events: Info | None) -> Storage | None:
    """Return the server's storage, None where the events stream has a limit of its own.

    For an account without limits `$JS.API.INFO` reports none. Only monitoring knows `max_file_store`.
    """
    if events is not None and events["config"]["max_bytes"] > 0:
        return None
    return Storage(server["storage"], server["config"]["max_storage"])


def _expiry(general: Info) -> datetime | None:
    """Return when the certificate expires that the server shows to clients, None without TLS."""
    text = general.get("tls_cert_not_after")
    return datetime.fromisoformat(text) if text else None


async def _get_json(session: aiohttp.ClientSession, url: str, *, of_any_status: bool = False) -> dict[str, Any]:
    async with session.get(url, raise_for_status=not of_any_status) as response:
        body: dict[str, Any] = await response.json()
        return body
