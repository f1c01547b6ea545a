"""One connection to NATS: opened with the settings of the environment, closed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from keda_jobs.errors import BrokerClosed, BrokerUnavailable, Misconfigured
from keda_jobs.settings import NatsSettings

__all__ = ["CONFIRM_S", "Client", "NatsError", "connect", "error_text", "until_connected"]

MINIMUM_SERVER = (2, 14, 3)
CONFIRM_S = 5.0
"""How long an answer of the server is waited for."""

_RECONNECTED_S = 0.25

log = logging.getLogger(__name__)


class _Reports:
    """What the client says about its connection, each thing once until it is connected again."""

    def __init__(self, client: Client, address: str, on_reconnect: Callable[[], None] | None) -> None:
        self._client = client
        self._address = address
        self._on_reconnect = on_reconnect
        self._said: set[str] = set()
        self.last: Exception | None = None

    async def keep(self, error: Exception) -> None:
        """Without waiting, the caller is told by one exception, which says more than "no servers available"."""
        # A server that refuses us closes the connection too, and which of the two is heard last is chance.
        if not isinstance(self.last, NatsError) or isinstance(error, NatsError):
            self.last = error

    async def error(self, error: Exception) -> None:
        line = error_text(error)
        if line not in self._said:
            self._said.add(line)
            log.warning("NATS at %s: %s", self._address, line)

    async def disconnected(self) -> None:
        if not self._client.is_closed:
            log.warning("disconnected from NATS at %s, reconnecting", self._address)

    async def reconnected(self) -> None:
        self._said.clear()
        log.info("reconnected to NATS at %s", self._address)
        if self._on_reconnect is not None:
            self._on_reconnect()


@asynccontextmanager
async def connect(
    settings: NatsSettings, *, name: str, wait: bool, on_reconnect: Callable[[], None] | None = None
) -> AsyncIterator[Client]:
    """A connection to NATS, closed at the end.

    With `wait` it is waited for, and it reconnects for ever, with a call of `on_reconnect` each time; without,
    `BrokerUnavailable` says what is wrong within seconds. Raises `Misconfigured` when the server is too old.
    """
    address = re.sub(r"//[^/@]*@", "//", settings.nats_url)
    client = Client()
    reports = _Reports(client, address, on_reconnect)
    try:
        await client.connect(
            servers=settings.nats_url.split(","),
            name=name,
            # A user may hear no inbox but its own, else it would hear what the server answers to others.
            inbox_prefix=f"_INBOX_{settings.nats_user or name}",
            allow_reconnect=wait,
            # nats-py tries a server that refuses once more than this, and for ever where it is -1 or 0.
            max_reconnect_attempts=-1 if wait else 1,
            reconnect_time_wait=1 if wait else 0,
            connect_timeout=2 if wait else 5,
            # A half-open link is noticed after two of these.
            ping_interval=10,
            error_cb=reports.error if wait else reports.keep,
            disconnected_cb=reports.disconnected if wait else None,
            reconnected_cb=reports.reconnected,
            **_credentials(settings),
        )
    except (NatsError, OSError, TimeoutError) as error:
        await client.close()
        raise BrokerUnavailable(f"NATS at {address} cannot be reached: {error_text(reports.last or error)}") from error
    except asyncio.CancelledError:
        await client.close()
        raise
    try:
        _refuse_cancelled()
        _refuse_old(client, address)
        yield client
    finally:
        with contextlib.suppress(NatsError):
            await client.flush(timeout=int(CONFIRM_S))
        # A server that is away: nats-py writes what is pending to the connection that is lost.
        with contextlib.suppress(OSError):
            await client.close()


def _refuse_cancelled() -> None:
    """Raise the cancellation that came while nats-py connected, so that SIGTERM is not lost.

    Its `asyncio.wait_for` forgets one that comes together with the answer, on Python 3.11:
    https://github.com/python/cpython/issues/86296
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _credentials(settings: NatsSettings) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if settings.nats_user is not None:
        options["user"] = settings.nats_user
    if settings.nats_password is not None:
        options["password"] = settings.nats_password.get_secret_value()
    if settings.nats_creds is not None:
        options["user_credentials"] = str(settings.nats_creds)
    if settings.nats_tls_ca is not None:
        options["tls"] = ssl.create_default_context(cafile=str(settings.nats_tls_ca))
    return options


def _refuse_old(client: Client, address: str) -> None:
    version = client.connected_server_version
    found = (version.major, version.minor, version.patch)
    if found < MINIMUM_SERVER:
        has, floor = ".".join(map(str, found)), ".".join(map(str, MINIMUM_SERVER))
        raise Misconfigured(
            f"the NATS server at {address} has version {has}; at least {floor} is needed, or retries are lost"
        )


async def until_connected(client: Client) -> None:
    """Wait for the connection; what is written without one is sent later, when nobody waits for its answer."""
    while not client.is_connected:
        if client.is_closed:
            raise BrokerClosed(
                f"the connection to NATS is closed: {error_text(client.last_error or 'no reason given')}"
            )
        await asyncio.sleep(_RECONNECTED_S)


def error_text(error: object) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__
