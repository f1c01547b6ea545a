"""Publishing for applications: what NATS answers becomes stored, not stored, or unknown."""

from __future__ import annotations

import asyncio

from keda_jobs.domain.broker import MessageTooLarge, NotConfirmed, Outgoing
from keda_jobs.errors import BrokerClosed, BrokerUnavailable, JobError, MaybeStored, NotStored, Unpublishable
from keda_jobs.jetstream.connection import ANSWER_TIMEOUT_S, NatsConnection
from keda_jobs.jetstream.publish import Confirmation, publish
from keda_jobs.runtime.trouble import Part

GIVE_UP_S = 2 * ANSWER_TIMEOUT_S
"""Seconds for one publish: two tries, and in between the time to connect again."""


def event_id(outgoing: Outgoing) -> str:
    """Return the id of an event, which follows its subject and a blank in `msg_id`."""
    return outgoing.msg_id.partition(" ")[2]


class NatsSender:
    """Sender on a connection that comes back when it is lost."""

    def __init__(self, connection: NatsConnection, state: Part) -> None:
        self._connection = connection
        self._state = state

    @property
    def max_payload(self) -> int:
        """Server's limit for headers and body of one message, in bytes."""
        return self._connection.max_payload

    async def send(self, outgoing: Outgoing) -> Confirmation:
        """Have a message stored. The second try has the same id, so the server stores it once."""
        deadline = asyncio.get_running_loop().time() + GIVE_UP_S
        try:
            async with asyncio.timeout_at(deadline):
                await self._connection.until_connected()
        except (TimeoutError, BrokerClosed) as error:
            raise NotStored(f"{outgoing.subject} was not sent: {self._state.reason or error}") from error
        try:
            async with asyncio.timeout_at(deadline):
                return await self._send_twice(outgoing)
        except (TimeoutError, NotConfirmed) as error:
            reason = str(error) or f"{outgoing.subject} was not confirmed: {self._state.reason or 'no answer'}"
            raise MaybeStored(reason, id=event_id(outgoing)) from error
        except MessageTooLarge as error:
            raise Unpublishable(str(error)) from error
        except (BrokerUnavailable, BrokerClosed) as error:
            raise NotStored(str(error)) from error

    async def _send_twice(self, outgoing: Outgoing) -> Confirmation:
        try:
            return await publish(self._connection, outgoing)
        except NotConfirmed:
            try:
                return await publish(self._connection, outgoing)
            except JobError as error:
                # Whatever became of the second try, the first may be stored.
                raise NotConfirmed(str(error)) from error
