"""Messages stored together, with one confirmation and one write to the disk for all.

A server that confirms only what is on disk takes some hundred single messages a second, and thousands in batches
(ADR-50 of NATS, and nats-server#8539).
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Sequence

from nats.errors import Error as NatsError

from keda_jobs.domain.broker import Outgoing
from keda_jobs.errors import Permanent
from keda_jobs.jetstream.connection import NatsConnection

_HAS_DUPLICATE = 10201

log = logging.getLogger(__name__)


class BatchPublisher:
    """Publisher of batches on one connection."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._logged: set[str] = set()

    async def publish(self, messages: Sequence[Outgoing]) -> bool:
        """Store all messages or none, and return whether the server confirms it.

        A batch is refused for one message alone, such as one that the stream has already. Without a confirmation
        publish each message by itself: the server drops those that were stored, by their ids.
        """
        try:
            await self._connection.until_connected()
            return self._is_confirmed(await self._send(messages))
        except (NatsError, TimeoutError, OSError, ValueError, Permanent) as error:
            self._note(str(error))
            return False

    async def _send(self, messages: Sequence[Outgoing]) -> bytes:
        """Send all messages. Return the answer to the last one, which commits the batch."""
        client, batch = self._connection.client, uuid.uuid4().hex
        for number, outgoing in enumerate(messages, 1):
            headers = outgoing.wire_headers(self._connection.max_payload)
            headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number < len(messages):
                await client.publish(outgoing.subject, outgoing.data, headers=headers)
        headers["Nats-Batch-Commit"] = "1"
        answer = await self._connection.replies.request(outgoing.subject, outgoing.data, headers)
        return bytes(answer.data)

    def _is_confirmed(self, answer: bytes) -> bool:
        error = json.loads(answer).get("error")
        if error is not None and error.get("err_code") != _HAS_DUPLICATE:
            self._note(error.get("description"))
        return error is None

    def _note(self, reason: str) -> None:
        """Log a reason once."""
        if reason not in self._logged:
            self._logged.add(reason)
            log.warning("NATS stored no batch (%s), so its messages are published one by one", reason)
