"""Publishing of what a job decided, whatever ids others have used."""

from __future__ import annotations

import logging
import math
import uuid
from dataclasses import dataclass, replace

from keda_jobs.domain.broker import Broker, NotConfirmed, Outgoing
from keda_jobs.domain.subjects import DEAD_LETTER
from keda_jobs.errors import Permanent, PlatformError
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.runtime.backoff import Backoff, retry_until
from keda_jobs.runtime.shutdown import Shutdown

log = logging.getLogger(__name__)


class DeadLetterRefused(PlatformError):
    """The broker refuses the dead letter. One about the refusal would be refused too, so the message waits."""


class Publisher:
    """Publisher of a job's outputs, retries and dead letters."""

    def __init__(self, broker: Broker, metrics: EventMetrics, backoff: Backoff, shutdown: Shutdown) -> None:
        """`backoff` pauses all deliveries while NATS is unavailable."""
        self._broker = broker
        self._metrics = metrics
        self._backoff = backoff
        self._shutdown = shutdown

    async def store(self, outgoing: Outgoing, *, may_be_stored: bool, wait: bool = True) -> None:
        """Have `outgoing` stored. `may_be_stored` says that an earlier delivery may have done it.

        The broker drops a message whose id it has seen. If we cannot have sent the first one, it is somebody else's,
        and ours is stored under another id. Raises `Permanent` for a message that the broker refuses. Raises
        `PlatformError` only without `wait`.
        """
        publication, deadline = _Publication(self._broker, outgoing, may_be_stored), math.inf if wait else 0.0
        while not await retry_until(publication.attempt, self._backoff, self._shutdown, lambda: deadline):
            self._metrics.duplicate_ids.inc()
            log.warning(
                "NATS dropped %s for %s, because another one has its id; publishing it under a new one",
                outgoing.msg_id,
                outgoing.subject,
            )
            other = replace(outgoing, msg_id=f"{outgoing.msg_id}:{uuid.uuid4()}")
            publication = _Publication(self._broker, other, may_be_stored=False)


@dataclass(slots=True)
class _Publication:
    """Message with one id, and whether an earlier attempt may have stored it."""

    broker: Broker
    outgoing: Outgoing
    may_be_stored: bool

    async def attempt(self) -> bool:
        """Publish, and return whether the message is stored. Raises as `Broker.publish`, and `DeadLetterRefused`."""
        try:
            return await self.broker.publish(self.outgoing) or self.may_be_stored
        except NotConfirmed:
            self.may_be_stored = True
            raise
        except Permanent as error:
            if self.outgoing.subject != DEAD_LETTER:
                raise
            raise DeadLetterRefused(
                f"the dead letter cannot be stored: {error}; apply the streams (keda-jobs streams apply)"
            ) from error
