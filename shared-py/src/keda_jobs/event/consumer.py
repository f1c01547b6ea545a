"""The loop of an event job: a free slot, a fetch, the work, the decision carried out, and the drain at the end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import assert_never

from keda_jobs.domain.broker import Broker, Delivery, Outgoing
from keda_jobs.domain.dead_letter import dead_letter
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import (
    Ack,
    Dead,
    Decision,
    Failed,
    Hold,
    Outcome,
    Retry,
    RetryPolicy,
    describe,
    error_class_of,
)
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.errors import BrokerUnavailable, JobError, Permanent
from keda_jobs.event.heartbeat import Heartbeat
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.runner import Runner
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.tracing import Span
from keda_jobs.settings import JobSettings

log = logging.getLogger(__name__)

_TICK_S = 1.0
# A server that crashed may have forgotten that it delivered a message: it never answers the ack, and gives the
# message out again, to a handler whose effects are safe to repeat.
_ACK_TRIES = 2

Settled = Ack | Retry | Dead


class _GivenBack(Exception):
    """The message in hand goes back to the broker, because the process stops."""


class Consumer:
    """Pulls, runs and settles the messages of one job; decides nothing itself (see `keda_jobs.domain.policy`)."""

    def __init__(self, process: Process[JobSettings], broker: Broker, runner: Runner, metrics: EventMetrics) -> None:
        settings = process.settings
        self._job = process.name
        self._broker = broker
        self._runner = runner
        self._settings = settings
        self._metrics = metrics
        self._tracer = process.tracer
        self._shutdown = process.shutdown
        self._policy = RetryPolicy(settings.retry_max_deliveries, settings.retry_step_s)
        self._heartbeat = Heartbeat(settings.ack_wait_s / 3)
        self._backoff = Backoff()
        # A pull costs the server next to nothing, and every second of backoff is one that messages wait.
        self._fetch_backoff = Backoff(max_s=5.0)
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._pull_ended = asyncio.Event()
        self._ticked_at = time.monotonic()
        metrics.concurrency_limit.set(settings.concurrency)
        metrics.in_flight.set_function(lambda: len(self._running))

    @property
    def idle_s(self) -> float:
        """Seconds since the loop last moved; a loop that hangs shows here."""
        return time.monotonic() - self._ticked_at

    @property
    def is_paused(self) -> bool:
        """Whether the last word of NATS or the store was trouble, so that the loop rests between tries."""
        return self._backoff.active or self._fetch_backoff.active

    async def run(self) -> None:
        """Consume until a shutdown, then drain. Raises `BrokerClosed` when the connection is permanently lost."""
        beats = asyncio.create_task(self._heartbeat.run(), name="heartbeat")
        wake = asyncio.create_task(self._wake_on_shutdown(), name="shutdown")
        try:
            while not self._shutdown.requested:
                self._ticked_at = time.monotonic()
                if self._may_fetch():
                    for delivery in await self._fetch():
                        self._start(delivery)
                else:
                    await self._change()
            self._pull_ended.set()
            await self._drain()
        finally:
            self._pull_ended.set()
            beats.cancel()
            wake.cancel()
            await self._cancel_running()

    def _may_fetch(self) -> bool:
        """A slot is free, and no message in hand waits for the platform."""
        waiting = self._fetch_backoff.waiting or (self._backoff.active and self._running)
        return len(self._running) < self._settings.concurrency and not waiting

    async def _wake_on_shutdown(self) -> None:
        await self._shutdown.wait()
        self._changed.set()

    async def _change(self) -> None:
        """Wait for a slot, a stop or a moment, whichever comes first."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TICK_S):
                await self._changed.wait()

    async def _fetch(self) -> Sequence[Delivery]:
        try:
            deliveries = await self._broker.fetch(self._settings.concurrency - len(self._running))
        except BrokerUnavailable as error:
            self._fetch_backoff.failed(str(error))
            return []
        finally:
            self._metrics.record_fetch()
        self._fetch_backoff.reset()
        return deliveries

    def _start(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._process(delivery))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a message was left unsettled and comes again after its ack_wait", exc_info=error)

    async def _process(self, delivery: Delivery) -> None:
        started = time.monotonic()
        message = Message.from_delivery(delivery.received, self._job)
        is_retry = message.attempt > delivery.received.num_delivered
        with self._tracer.delivery(message, is_retry=is_retry) as span:
            decision, outcome = await self._settle(message, delivery, span)
            self._report(message, decision, outcome, time.monotonic() - started, span)

    async def _settle(self, message: Message, delivery: Delivery, span: Span) -> tuple[Decision, str]:
        try:
            decision = await self._decide_and_publish(message, delivery, span)
            return decision, await self._acknowledge(delivery, decision)
        except (asyncio.CancelledError, _GivenBack):
            await self._give_back(delivery)
            return Hold("the process stops"), "returned"

    async def _decide_and_publish(self, message: Message, delivery: Delivery, span: Span) -> Settled:
        self._heartbeat.begin(delivery)
        try:
            return await self._publish(await self._decide(message), message, span)
        finally:
            self._heartbeat.end(delivery)

    async def _decide(self, message: Message) -> Settled:
        """Run the handler, again after each backoff, until there is something to settle."""
        if self._policy.exhausted(message.attempt):
            return self._policy.too_many(message.attempt)
        while not self._shutdown.requested:
            outcome = await self._runner.outcome(message, self._broker.max_payload // 2)
            decision = self._policy.decide(outcome, message.attempt)
            if not isinstance(decision, Hold):
                self._platform_is_well()
                _log_bug(outcome, message)
                return decision
            await self._rest(decision.reason)
        # A pull of ours that is still open would get the message right back, at the cost of a delivery.
        await self._pull_ended.wait()
        raise _GivenBack

    async def _publish(self, decision: Settled, message: Message, span: Span) -> Settled:
        """Have the decision's messages stored; one that the broker cannot take makes it a dead letter."""
        try:
            for outgoing in self._outgoing(decision, message, span):
                await self._confirmed(functools.partial(self._broker.publish, outgoing))
        except Permanent as error:
            return await self._publish(Dead(describe(error), type(error).__name__), message, span)
        return decision

    def _outgoing(self, decision: Settled, message: Message, span: Span) -> list[Outgoing]:
        # A pod's clock may be behind the server's; what the server has stamped is past for sure.
        now = max(datetime.now(UTC), message.published_at)
        match decision:
            case Ack(events):
                return [
                    Outgoing(
                        event.subject,
                        event.encode(),
                        f"{message.id}:{event.subject}{f':{n}' if n else ''}",
                        span.inject({}),
                    )
                    for n, event in enumerate(events)
                ]
            case Retry(delay_s):
                again = dataclasses.replace(message, headers=span.inject_retry(message.headers))
                return [scheduled_retry(again, self._job, delay_s, now)]
            case Dead():
                dead = dataclasses.replace(message, headers=span.inject(message.headers))
                return [dead_letter(dead, self._job, decision, self._broker.max_payload, now)]
            case _:
                assert_never(decision)

    async def _acknowledge(self, delivery: Delivery, decision: Settled) -> str:
        for _ in range(_ACK_TRIES):
            try:
                await delivery.ack()
            except BrokerUnavailable as error:
                log.warning("%s", error)
            else:
                return _WORDS[type(decision)]
        return "unconfirmed"

    async def _confirmed(self, send: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await send()
            except BrokerUnavailable as error:
                await self._rest(str(error))
            else:
                self._platform_is_well()
                return

    async def _rest(self, reason: str) -> None:
        """Rest with the others; a shutdown ends it early, once."""
        self._backoff.failed(reason)
        await self._shutdown.sleep(self._backoff.remaining_s)

    def _platform_is_well(self) -> None:
        if self._backoff.active:
            self._backoff.reset()
            self._changed.set()

    async def _give_back(self, delivery: Delivery) -> None:
        try:
            await delivery.nak()
        except BrokerUnavailable as error:
            log.warning("%s; the message comes again after its ack_wait", error)

    async def _drain(self) -> None:
        """Let running work end within the grace."""
        log.info("stopping, %d messages in work", len(self._running))
        while self._running and (left_s := self._shutdown.deadline - time.monotonic()) > 0:
            self._ticked_at = time.monotonic()
            await asyncio.wait(self._running, timeout=min(left_s, _TICK_S))

    async def _cancel_running(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _report(self, message: Message, decision: Decision, outcome: str, duration_s: float, span: Span) -> None:
        self._metrics.record_settled(outcome, duration_s, message.attempt, span.exemplar)
        span.end(outcome, error_class_of(decision))
        extra: dict[str, object] = {
            "msg_id": message.id,
            "subject": message.subject,
            "attempt": message.attempt,
            "outcome": outcome,
            "duration_s": round(duration_s, 4),
        }
        if span.trace_id is not None:
            extra["trace_id"] = span.trace_id
        if not isinstance(decision, Ack):
            extra["reason"] = decision.reason
        match decision:
            case Retry(delay_s):
                extra["delay_s"] = delay_s
                self._metrics.record_retry(delay_s)
            case Dead(_, error_class):
                extra["error_class"] = error_class
                self._metrics.record_dead_letter(error_class)
        log.info("%s", outcome, extra=extra)


_WORDS = {Ack: "acked", Retry: "retry", Dead: "dead"}


def _log_bug(outcome: Outcome, message: Message) -> None:
    if isinstance(outcome, Failed) and not isinstance(outcome.error, JobError):
        log.error("the handler raised", exc_info=outcome.error, extra={"msg_id": message.id})
