"""Life of one delivery: decide, publish, ack or give back, report."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import assert_never

from keda_jobs.domain.broker import Broker, Delivery, Outgoing
from keda_jobs.domain.dead_letter import dead_letter
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import (
    ACK_UNCONFIRMED,
    Ack,
    Dead,
    Decision,
    Hold,
    Retry,
    RetryPolicy,
    Settlement,
    class_name,
    describe,
)
from keda_jobs.domain.retry import scheduled_retry, scheduled_return
from keda_jobs.errors import BrokerUnavailable, Permanent, PlatformError
from keda_jobs.event.heartbeat import Heartbeat
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.publishing import Publisher
from keda_jobs.event.runner import Runner, log_bug
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.spans import Span
from keda_jobs.runtime.trouble import Part
from keda_jobs.settings import JobSettings

log = logging.getLogger(__name__)

# A server that crashed may have forgotten that it delivered a message. It never answers the ack, and delivers the
# message again, to a handler whose effects are safe to repeat.
_ACK_TRIES = 2


class _StillHeld(Exception):
    """The process stops while the message waits for the platform."""


class Settler:
    """Settles deliveries. Decides nothing itself, see `keda_jobs.domain.policy`."""

    def __init__(
        self,
        process: Process[JobSettings],
        broker: Broker,
        runner: Runner,
        metrics: EventMetrics,
        backoff: Backoff,
    ) -> None:
        """`backoff` pauses all deliveries while a part of the platform that the handler needs is unavailable."""
        settings = process.settings
        self._job = process.name
        self._tracer = process.tracer
        self._shutdown = process.shutdown
        self._broker = broker
        self._runner = runner
        self._metrics = metrics
        self._policy = RetryPolicy(settings.retry_max_deliveries, settings.retry_step_s)
        self.heartbeat = Heartbeat(settings.ack_wait_s / 3)
        self._backoff = backoff
        # A message that was not acked comes again after its ack_wait. If none does, nothing is left to confirm.
        self.acks = process.trouble.watch(Part(fades_s=2 * settings.ack_wait_s))
        """In trouble while NATS does not confirm acks."""
        publish_backoff = process.trouble.watch(Backoff(), is_everybodys=True)
        self._publisher = Publisher(broker, metrics, publish_backoff, process.shutdown)
        self.fetch_ended = asyncio.Event()
        """Set once no fetch is open any more."""

    async def settle(self, delivery: Delivery) -> None:
        """Run the handler on a delivery, carry the decision out, and report it."""
        started = time.monotonic()
        message = Message.from_delivery(delivery.received, self._job)
        is_retry = message.attempt > delivery.received.num_delivered
        with self._tracer.delivery(message, is_retry=is_retry) as span:
            decision, outcome = await self._carry_out(message, delivery, span)
            self._report(message, decision, outcome, time.monotonic() - started, span)

    async def give_back(self, delivery: Delivery) -> None:
        """Return a delivery for which no slot is free. Waiting here it would be delivered again after its ack_wait."""
        message = Message.from_delivery(delivery.received, self._job)
        log.info("no slot is free, giving a message back", extra={"msg_id": str(message.id)})
        await self._return_uncounted(message, delivery)

    async def _carry_out(self, message: Message, delivery: Delivery, span: Span) -> tuple[Decision, str]:
        try:
            decision = await self._decide_and_publish(message, delivery, span)
            confirmed = await self._acknowledge(delivery)
            return decision, decision.outcome if confirmed else ACK_UNCONFIRMED
        except _StillHeld:
            await self._return_uncounted(message, delivery)
        except asyncio.CancelledError:
            await self._nak(delivery)
        return Hold("the process stops"), Hold.outcome

    async def _decide_and_publish(self, message: Message, delivery: Delivery, span: Span) -> Settlement:
        self.heartbeat.begin(delivery)
        try:
            return await self._publish(await self._decide(message), message, span)
        finally:
            self.heartbeat.end(delivery)

    async def _decide(self, message: Message) -> Settlement:
        """Run the handler, again after each backoff, until there is something to publish."""
        if self._policy.exhausted(message.attempt):
            return self._policy.too_many(message.attempt)
        while not self._shutdown.requested:
            result = await self._runner.handle(message, self._broker.max_payload // 2)
            decision = self._policy.decide(result, message.attempt)
            if not isinstance(decision, Hold):
                self._backoff.reset()
                log_bug(result, message)
                return decision
            await self._backoff.wait(decision.reason, self._shutdown, asked_s=decision.delay_s)
        # An open fetch of ours would receive the message at once, which costs a delivery.
        await self.fetch_ended.wait()
        raise _StillHeld

    async def _publish(self, decision: Settlement, message: Message, span: Span) -> Settlement:
        """Have the decision's messages stored. One that the broker refuses makes it a dead letter."""
        try:
            for outgoing in self._outgoing(decision, message, span):
                await self._publisher.store(outgoing, may_be_stored=message.redelivered)
        except Permanent as error:
            return await self._publish(Dead(describe(error), class_name(error)), message, span)
        return decision

    def _outgoing(self, decision: Settlement, message: Message, span: Span) -> list[Outgoing]:
        match decision:
            case Ack(events):
                return [
                    event.outgoing(
                        message.id.msg_id(f"{event.subject}:{n}" if n else event.subject),
                        span.inject({}),
                        self._job,
                        _now(message),
                    )
                    for n, event in enumerate(events)
                ]
            case Retry(delay_s):
                again = message._replace(headers=span.inject_retry(message.headers))
                return [scheduled_retry(again, self._job, delay_s, _now(message))]
            case Dead():
                dead = message._replace(headers=span.inject(message.headers))
                return [dead_letter(dead, self._job, decision, self._broker.max_payload, _now(message))]
            case _:
                assert_never(decision)

    async def _acknowledge(self, delivery: Delivery) -> bool:
        """Acknowledge the delivery, and return whether the server confirms it."""
        for _ in range(_ACK_TRIES):
            try:
                await delivery.ack()
            except BrokerUnavailable as error:
                log.warning("%s", error)
                self.acks.began(str(error))
            else:
                self.acks.ended()
                return True
        return False

    async def _return_uncounted(self, message: Message, delivery: Delivery) -> None:
        """Give a message back whose handler has had no result. A nak would cost it a delivery."""
        returned = scheduled_return(message, self._job, _now(message))
        try:
            await self._publisher.store(returned, may_be_stored=message.redelivered, wait=False)
        except (PlatformError, Permanent) as error:
            log.warning("%s; giving the message back by a nak", error)
            await self._nak(delivery)
        else:
            await self._acknowledge(delivery)

    async def _nak(self, delivery: Delivery) -> None:
        try:
            await delivery.nak()
        except BrokerUnavailable as error:
            log.warning("%s; the message is delivered again after its ack_wait", error)

    def _report(self, message: Message, decision: Decision, outcome: str, duration_s: float, span: Span) -> None:
        self._metrics.record_settled(decision, outcome, duration_s, span.exemplar)
        if isinstance(decision, Ack | Dead) and outcome == decision.outcome:
            self._metrics.record_end(decision, message.attempt, message.age_s(datetime.now(UTC)))
        span.end(outcome, decision.error_class)
        extra: dict[str, object] = {
            "msg_id": str(message.id),
            "subject": message.subject,
            "attempt": message.attempt,
            "outcome": outcome,
            "duration_s": round(duration_s, 4),
        }
        if span.trace_id is not None:
            extra["trace_id"] = span.trace_id
        if decision.reason is not None:
            extra["reason"] = decision.reason
        if decision.error_class is not None:
            extra["error_class"] = decision.error_class
        if isinstance(decision, Retry):
            extra["delay_s"] = decision.delay_s
        log.info("%s", outcome, extra=extra)


def _now(message: Message) -> datetime:
    return message.server_time(datetime.now(UTC))
