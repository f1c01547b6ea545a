"""nats-py's client, made to read whatever a publisher may send, and the headers of what it receives."""

from __future__ import annotations

from typing import cast

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ProtocolError

from keda_jobs.domain.headers import Headers
from keda_jobs.runtime.shutdown import is_cancelled

NO_RESPONDERS = "503"
"""Status of an answer to a request that nobody serves."""


class TolerantClient(Client):
    """Client of nats-py that reads whatever a publisher may send.

    The reader of nats-py ends for good at a header block that it cannot parse, and any client may publish one.
    """

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
