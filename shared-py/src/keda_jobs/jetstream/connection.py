"""Connection to NATS: opened with settings, closed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from keda_jobs.address import NatsAddress
from keda_jobs.errors import BrokerClosed, BrokerUnavailable, Misconfigured
from keda_jobs.jetstream.client import TolerantClient
from keda_jobs.jetstream.login import inbox_prefix, login, server_urls
from keda_jobs.jetstream.replies import Replies
from keda_jobs.runtime.shutdown import is_cancelled
from keda_jobs.runtime.trouble import Part

# Earlier servers lose retries. They source a work queue without acknowledgement (ADR-60), drop schedules of a
# replicated one (nats-server#8423), and skip messages of a recreated one. They store a forged `Nats-Stream-Source` too.
MINIMUM_SERVER = (2, 15, 0)
ANSWER_TIMEOUT_S = 5.0
"""Seconds to wait for an answer of the server."""

_RECONNECTED_S = 0.25
_RECENT_S = ANSWER_TIMEOUT_S + 1

log = logging.getLogger(__name__)


class NatsConnection:
    """Connection to NATS. Only modules of this folder use its `client`."""

    def __init__(self, client: Client, errors: ErrorLog | None = None, settings: NatsAddress | None = None) -> None:
        self.client = client
        self.replies = Replies(client, ANSWER_TIMEOUT_S)
        self.jetstream = client.jetstream(timeout=ANSWER_TIMEOUT_S)
        self.on_disconnect: tuple[Callable[[], None], ...] = (self.replies.interrupt,)
        """Called when the connection is lost, since nobody answers what was asked on it."""
        self.connected_at = time.monotonic()
        self._errors = errors or ErrorLog("")
        self._settings = settings or NatsAddress()

    @property
    def is_connected(self) -> bool:
        """True while the server can be reached."""
        return self.client.is_connected

    @property
    def max_payload(self) -> int:
        """Server's limit for headers and body of one message, in bytes."""
        return self.client.max_payload

    @property
    def server_version(self) -> str:
        """Server's version, such as `2.15.1`."""
        return ".".join(map(str, _version(self.client)))

    async def until_connected(self) -> None:
        """Wait for the connection: what is written without one is sent later, when nobody waits for the answer.

        Raises `BrokerClosed`.
        """
        while not self.client.is_connected:
            if self.client.is_closed:
                reason = _error_text(self.client.last_error or "no reason given")
                raise BrokerClosed(f"the connection to NATS is closed: {reason}")
            await asyncio.sleep(_RECONNECTED_S)

    def another(self) -> AbstractAsyncContextManager[NatsConnection]:
        """Open a second connection to the same servers, as the same user."""
        return connect(self._settings, name="keda-jobs-more", wait=False)

    async def reconnect(self, since: float) -> None:
        """Connect again, unless it was done `since`. A server forgets subscriptions that its user has no right to."""
        if self.connected_at < since:
            await self.client.force_reconnect()

    def reason(self, error: Exception) -> str:
        """Say why `error` was raised. A missing right shows as a timeout after the server has reported it."""
        return _error_text(self._errors.recent or self._errors.deaf or error)


class ErrorLog:
    """Errors that the client reports: each is logged once until it reconnects, and the last one is kept."""

    def __init__(self, address: str, *, level: int = logging.WARNING, state: Part | None = None) -> None:
        self.address = address
        self._state = state or Part()
        self._level = level
        self._logged: set[str] = set()
        self._last: Exception | None = None
        self._last_at = 0.0
        self.deaf: Exception | None = None
        """Refusal of a subscription, which holds as long as the connection."""

    @property
    def recent(self) -> Exception | None:
        """Last error, if it was reported while an answer was waited for."""
        return self._last if time.monotonic() - self._last_at < _RECENT_S else None

    async def report(self, error: Exception) -> None:
        """Keep and log `error`. It is called after each attempt to connect that failed."""
        _raise_if_cancelled()
        # A server that refuses us also closes the connection, in either order. Its own words say more.
        if isinstance(error, NatsError) or not isinstance(self.recent, NatsError):
            self._last, self._last_at = error, time.monotonic()
        line = _error_text(error)
        if "permissions violation for subscription" in line:
            self.deaf = error
        if self._state.active:
            self._state.began(f"NATS at {self.address}: {_error_text(self._last)}")
        if line not in self._logged:
            self._logged.add(line)
            log.log(self._level, "NATS at %s: %s", self.address, line)

    def clear(self) -> None:
        """Log the same errors again."""
        self._logged.clear()


@asynccontextmanager
async def connect(
    settings: NatsAddress,
    *,
    name: str,
    wait: bool,
    on_reconnect: Callable[[], None] = lambda: None,
    state: Part | None = None,
) -> AsyncIterator[NatsConnection]:
    """Connect to NATS, and close the connection at the end.

    With `wait` it waits for the server and reconnects forever, with a call of `on_reconnect` each time. Without,
    `BrokerUnavailable` says within seconds what is wrong. Raises `Misconfigured` when the server is too old or
    NATS_CREDS cannot be used. `state` is in trouble while there is no connection.
    """
    state = state or Part()
    address = ",".join(server_urls(settings))
    # Without waiting the caller gets one exception, which says the same.
    errors = ErrorLog(address, level=logging.WARNING if wait else logging.DEBUG, state=state)
    connection = NatsConnection(TolerantClient(partial(_todays_login, settings)), errors, settings)
    observer = _Observer(connection, errors, state, on_reconnect, wait=wait)
    state.began(f"NATS at {address}: not yet connected")
    await _open(connection, address, _options(settings, name, wait=wait) | observer.callbacks())
    try:
        state.ended()
        _raise_if_cancelled()
        _check_version(connection.client, address)
        yield connection
    finally:
        await _close(connection.client)


class _Observer:
    """Observer of one connection: what follows when it is lost, and when it is made again."""

    def __init__(
        self,
        connection: NatsConnection,
        errors: ErrorLog,
        state: Part,
        on_reconnect: Callable[[], None],
        *,
        wait: bool,
    ) -> None:
        self._connection = connection
        self._errors = errors
        self._state = state
        self._on_reconnect = on_reconnect
        self._wait = wait

    def callbacks(self) -> dict[str, Any]:
        """Return the callbacks, as nats-py names them."""
        return {
            "error_cb": self._report,
            "disconnected_cb": self._disconnected,
            "reconnected_cb": self._reconnected,
        }

    async def _report(self, error: Exception) -> None:
        await self._errors.report(error)
        self._connection.replies.note_refusal(error)

    async def _disconnected(self) -> None:
        address, client = self._errors.address, self._connection.client
        if client.is_closed:
            # nats-py does not reconnect after an error of the server, such as too many connections.
            self._state.began(f"NATS at {address}: {_error_text(client.last_error or 'closed')}")
        elif self._wait:
            log.warning("disconnected from NATS at %s, reconnecting", address)
            self._state.began(f"NATS at {address}: disconnected")
        self._errors.deaf = None
        for lost in self._connection.on_disconnect:
            lost()

    async def _reconnected(self) -> None:
        self._errors.clear()
        self._connection.connected_at = time.monotonic()
        self._state.ended()
        log.info("reconnected to NATS at %s", self._errors.address)
        self._on_reconnect()


async def _open(connection: NatsConnection, address: str, options: dict[str, Any]) -> None:
    client = connection.client
    try:
        await client.connect(**options)
    except (NatsError, OSError, TimeoutError) as error:
        await client.close()
        raise BrokerUnavailable(f"NATS at {address} cannot be reached: {connection.reason(error)}") from error
    except asyncio.CancelledError:
        await client.close()
        raise


async def _close(client: Client) -> None:
    with contextlib.suppress(NatsError):
        await client.flush(timeout=int(ANSWER_TIMEOUT_S))
    # nats-py writes pending data to a connection that may be lost.
    with contextlib.suppress(OSError):
        await client.close()


def _raise_if_cancelled() -> None:
    """Raise the cancellation that came while nats-py connected, so that neither SIGTERM nor the end of a hold is lost.

    On Python 3.11 its `asyncio.wait_for` drops one that comes together with the answer:
    https://github.com/python/cpython/issues/86296
    """
    if is_cancelled():
        raise asyncio.CancelledError


def _todays_login(settings: NatsAddress) -> dict[str, Any]:
    """Build the login from what the files hold now. Raises `NatsError`, after which the client tries again."""
    try:
        return login(settings.reread())
    except (Misconfigured, ValueError, OSError) as error:
        raise NatsError(f"nats: {error}") from error


def _options(settings: NatsAddress, name: str, *, wait: bool) -> dict[str, Any]:
    user = login(settings)
    options: dict[str, Any] = {
        "servers": server_urls(settings),
        "name": name,
        # A user may subscribe to no inbox but its own, or it could read the server's answers to others.
        "inbox_prefix": inbox_prefix(user.get("user", name)),
        "allow_reconnect": wait,
        # nats-py tries a server that refuses once more than this, and forever with -1 or 0.
        "max_reconnect_attempts": -1 if wait else 1,
        "reconnect_time_wait": 1 if wait else 0,
        "connect_timeout": 2 if wait else 5,
        # A half-open connection is noticed after two of these.
        "ping_interval": 10,
    }
    return options | user


def _check_version(client: Client, address: str) -> None:
    version = _version(client)
    if version < MINIMUM_SERVER:
        actual, minimum = ".".join(map(str, version)), ".".join(map(str, MINIMUM_SERVER))
        raise Misconfigured(
            f"the NATS server at {address} has version {actual}; at least {minimum} is needed, or retries are lost"
        )


def _version(client: Client) -> tuple[int, int, int]:
    version = client.connected_server_version
    return version.major, version.minor, version.patch


def _error_text(error: object) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__
