"""Watch over a running handler: report its progress, and end it once somebody has cancelled its message."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import socket
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from keda_jobs.domain.emitted import Emitted
from keda_jobs.domain.event import Event
from keda_jobs.domain.long_work import Cancelled, Progress, Report
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.event.handler import Handler
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.long_work import cancelled_by, post_report
from keda_jobs.long.handler import LongContext
from keda_jobs.runtime.time_limit import end_handler

EVERY_S = 5.0
"""Seconds between two reports, and between two looks for a cancellation."""
# A pod that was killed leaves its report for this long.
_KEPT_S = 30
_LOGGED_EVERY_S = 60.0

log = logging.getLogger(__name__)


def watched(handler: Handler, connection: NatsConnection) -> Handler:
    """Return `handler` with a watch over each of its runs."""

    @functools.wraps(handler)
    async def run(event: Event, context: LongContext[Any, Any]) -> Emitted:
        async with _Watch(connection, context):
            return await handler(event, context)

    return run


class _Watch:
    """Watch over one run of the handler. It is no reason to fail: without NATS the work goes on unwatched."""

    def __init__(self, connection: NatsConnection, context: LongContext[Any, Any]) -> None:
        self._connection = connection
        self._message = context.message
        self._said = context.said
        self._logged = Progress()
        self._logged_at = -math.inf
        self._started_at = datetime.now(UTC)

    async def __aenter__(self) -> Self:
        """Begin. Raises `Cancelled` for a message that was cancelled while it waited."""
        if (name := await self._cancelled_by()) is not None:
            raise _cancelled(name)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._task.cancel()
        # The shortest time that NATS can keep it.
        await self._report(kept_s=1, ended=True)

    async def _run(self) -> None:
        while True:
            await self._report(_KEPT_S)
            self._log()
            await asyncio.sleep(EVERY_S)
            if (name := await self._cancelled_by()) is not None:
                log.info("cancelled by %s, ending the handler", name, extra={"msg_id": str(self._message.id)})
                end_handler(_cancelled(name))
                return

    async def _cancelled_by(self) -> str | None:
        try:
            return await cancelled_by(self._connection, self._message.id)
        except BrokerUnavailable as error:
            log.warning("%s", error)
            return None

    async def _report(self, kept_s: int, *, ended: bool = False) -> None:
        report = Report(
            pod=socket.gethostname(),
            attempt=self._message.attempt,
            started_at=self._started_at,
            **asdict(self._said),
            ended=ended,
        )
        try:
            await post_report(self._connection, self._message.id, report, kept_s)
        except BrokerUnavailable as error:
            log.warning("%s", error)

    def _log(self) -> None:
        """Write the progress to the log, where it is new, at most once a minute."""
        said = self._said
        if said == self._logged or time.monotonic() - self._logged_at < _LOGGED_EVERY_S:
            return
        self._logged, self._logged_at = replace(said), time.monotonic()
        log.info("progress", extra={"msg_id": str(self._message.id), **asdict(said)})


def _cancelled(name: str) -> Cancelled:
    return Cancelled(f"cancelled by {name}")
