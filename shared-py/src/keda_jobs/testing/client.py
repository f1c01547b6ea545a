"""Client of an application, in memory."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime

from keda_jobs.client import Client, Publication, Receipt, SyncClient
from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.event import Event
from keda_jobs.domain.subjects import stream_of
from keda_jobs.jetstream.publish import Confirmation
from keda_jobs.testing.broker import MAX_PAYLOAD


@dataclass(frozen=True, slots=True)
class Published:
    """Event that an `InMemoryClient` has stored."""

    event: Event
    id: str
    due: datetime | None = None
    """When it is sent, None for at once."""


class InMemoryClient(Client):
    """Client for tests of an application. `published` has what it stored, oldest first.

    It refuses what the real one refuses before it sends, and drops duplicates. It knows no streams and no rights.
    """

    def __init__(self) -> None:
        super().__init__(_Memory())
        self.published: list[Published] = []

    async def _send(self, publication: Publication) -> Receipt:
        receipt = await super()._send(publication)
        if not receipt.duplicate:
            self.published.append(Published(publication.event, receipt.id, publication.due))
        return receipt


class InMemorySyncClient(SyncClient):
    """Twin of `InMemoryClient` for code without asyncio."""

    def __init__(self) -> None:
        client = InMemoryClient()
        super().__init__(nullcontext(client))
        self.published = client.published


class _Memory:
    """Sender that keeps the ids of each stream."""

    max_payload = MAX_PAYLOAD

    def __init__(self) -> None:
        self._sequences: dict[tuple[str, str], int] = {}

    async def send(self, outgoing: Outgoing) -> Confirmation:
        """Have a message stored."""
        stream = stream_of(outgoing.subject)
        key, count = (stream, outgoing.msg_id), sum(stored == stream for stored, _ in self._sequences)
        is_new = key not in self._sequences
        return Confirmation(stream, self._sequences.setdefault(key, count + 1), is_new)
