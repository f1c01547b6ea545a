"""nats-py's client, made to read whatever a publisher may send, and the headers of what it receives."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import ProtocolError

from keda_jobs.domain.headers import Headers
from keda_jobs.runtime.shutdown import is_cancelled

NO_RESPONDERS = "503"
"""Status of an answer to a request that nobody serves."""

_LOGIN_ENDED = re.compile(r"'?(authorization violation|(user |account )?authentication )")


class TolerantClient(Client):
    """Client of nats-py that reads whatever a publisher may send.

    The reader of nats-py ends for good at a header block that it cannot parse, and any client may publish one.
    It also sends the login without TLS, whatever was asked for, where the server's first line does not ask for TLS.
    And it closes for good when the server ends a login, which may have been replaced: `login` returns today's options.
    """

    def __init__(self, login: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._login = login

    async def _process_connect_init(self) -> None:
        try:
            self._use(self._login())
            await super()._process_connect_init()
        except (OSError, NatsError) as error:
            transport: Any = self._transport  # without types in its stubs
            # nats-py leaves it open after a refused login.
            transport.close()
            if isinstance(error, OSError):
                # After a failed TLS handshake nats-py would wait for ever until the stream says that it has closed.
                self._transport = None
            raise
        writer: Any = getattr(self._transport, "_io_writer", None)
        if writer is not None and writer.get_extra_info("sslcontext") is not None:
            # nats-py does not tell the stream's protocol of a switch to TLS. asyncio would log a warning at the end.
            writer._protocol._over_ssl = True  # noqa: SLF001

    def _use(self, login: dict[str, Any]) -> None:
        self._user_credentials = login.pop("user_credentials", None)
        if self._user_credentials is not None:
            self._setup_nkeys_connect()
        self.options |= login

    def _connect_command(self) -> bytes:
        scheme = self._current_server.uri.scheme if self._current_server else ""
        is_encrypted = scheme == "wss" or (scheme != "ws" and self._server_info.get("tls_required"))
        if not is_encrypted and ("tls" in self.options or scheme == "tls"):
            raise NatsError(
                "nats: the server does not ask for TLS, which NATS_URL or NATS_TLS_CA does; no login was sent"
            )
        return super()._connect_command()

    async def _process_err(self, err_msg: str) -> None:
        if not (self.options["allow_reconnect"] and _LOGIN_ENDED.match(err_msg)):
            await super()._process_err(err_msg)
            return
        error = NatsError("nats: " + err_msg.strip("'"))
        await self._error_cb(error)
        await self._process_op_err(error)

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        if not headers:
            return None
        parsed = Headers.parse(headers)
        if parsed.status:
            # nats-py looks for the status of an answer there.
            parsed |= {"Status": parsed.status, "Description": parsed.description}
        return parsed

    async def _read_loop(self) -> None:
        await super()._read_loop()
        # nats-py would stay deaf until two pings are missed.
        if self.is_connected and not is_cancelled():
            await self._process_op_err(ProtocolError())


def received_headers(msg: Msg) -> Headers:
    """Return the headers of a message that a `TolerantClient` received, also of one without any."""
    return Headers() if msg.headers is None else cast("Headers", msg.headers)


def status_text(headers: Headers) -> str:
    """Return what the server says in the first line of an answer."""
    if headers.status == NO_RESPONDERS and not headers.description:
        return "no responders: no such consumer, or JetStream is away"
    return headers.description or headers.status or "an answer without a status"
