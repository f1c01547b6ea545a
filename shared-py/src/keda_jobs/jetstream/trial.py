"""Trial of a job on stored events, in a process of its own that may be of another version, and without NATS."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from keda_jobs.domain.headers import application_headers
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.policy import Ack
from keda_jobs.domain.trial import TrialEvent, TrialOutcome
from keda_jobs.errors import JobError, Misconfigured
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import StoredMessage
from keda_jobs.jetstream.replay import Pace
from keda_jobs.jetstream.rerun import Selection
from keda_jobs.runtime.shutdown import cancel_on

# After an interruption, for the events in flight.
_FINISH_S = 10.0
_LONGEST_ANSWER = 2**20


class TrialEnded(JobError):
    """The process of the trial ended too early."""


@dataclass(slots=True)
class Trial:
    """Trial of selected events by the process that `command` starts. It counts as it goes."""

    command: Sequence[str]
    per_second: float | None
    on_failure: Callable[[TrialOutcome], None]
    next_sequence: int
    """Number from which on nothing was answered, where to continue after an interruption."""
    done: int = 0
    failed: int = 0
    events: Counter[str] = field(default_factory=Counter)
    """Numbers of the events that the job would have published, by subject."""
    interrupted: bool = False
    _in_flight: set[int] = field(default_factory=set)

    async def run(
        self, connection: NatsConnection, selection: Selection, stop: asyncio.Event, progress: Callable[[int], None]
    ) -> None:
        """Try the selected events until the end or until `stop`. Call `progress` with the number of outcomes.

        Raises `Misconfigured` where the command cannot be started, `TrialEnded`, `BrokerUnavailable`.
        """
        process = await _start(self.command)
        outcomes = asyncio.create_task(self._read_outcomes(process, progress))
        try:
            await self._send(connection, selection, process, outcomes, stop)
            await self._finish(process, outcomes, stop)
        finally:
            self.next_sequence = min(self._in_flight, default=self.next_sequence)
            outcomes.cancel()
            await _end(process)

    async def _send(
        self,
        connection: NatsConnection,
        selection: Selection,
        process: Process,
        outcomes: asyncio.Task[None],
        stop: asyncio.Event,
    ) -> None:
        """Send the events, no faster than the process takes them."""
        pace, pipe = Pace(self.per_second, stop), _pipes(process)[0]
        async with aclosing(selection.events(connection)) as events:
            async for event in events:
                self.next_sequence = event.sequence
                if not await pace.next():
                    self.interrupted = True
                    return
                if outcomes.done():
                    return
                self._in_flight.add(event.sequence)
                pipe.write(_trial_event(event, connection.max_payload // 2).encode())
                with suppress(ConnectionError):  # it has ended, which is reported with its exit code
                    await cancel_on(stop, pipe.drain())
        self.next_sequence = selection.last + 1

    async def _read_outcomes(self, process: Process, progress: Callable[[int], None]) -> None:
        """Count the outcomes until the process ends. Raises `TrialEnded` for what is none."""
        line = b""
        try:
            while line := await _pipes(process)[1].readline():
                outcome = TrialOutcome.decode(line)
                self._in_flight.remove(outcome.sequence)
                self._count(outcome)
                progress(self.done + self.failed)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise TrialEnded(f"the trial's process printed what is no outcome: {line[:200]!r}") from error

    def _count(self, outcome: TrialOutcome) -> None:
        if outcome.outcome == Ack.outcome:
            self.done += 1
            self.events.update(outcome.events)
        else:
            self.failed += 1
            self.on_failure(outcome)

    async def _finish(self, process: Process, outcomes: asyncio.Task[None], stop: asyncio.Event) -> None:
        """Wait for the outcomes of the events in flight, after `stop` for a moment only. Raises `TrialEnded`."""
        _pipes(process)[0].close()
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((outcomes, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await asyncio.wait((outcomes,), timeout=_FINISH_S)
        if not outcomes.done():
            self.interrupted = True
            return
        outcomes.result()
        code = await process.wait()
        if code or self._in_flight:
            raise TrialEnded(f"the trial's process ended with exit code {code}: it says why above")


async def _start(command: Sequence[str]) -> Process:
    """Start the process. It gets no login of NATS, and no Ctrl-C of the terminal. Raises `Misconfigured`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NATS_")}
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env=environment, limit=_LONGEST_ANSWER, start_new_session=True
        )
    except OSError as error:
        raise Misconfigured(f"{command[0]} cannot be started: {error.strerror}") from error


def _pipes(process: Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    """Return what writes to the process, and what reads from it."""
    if process.stdin is None or process.stdout is None:
        raise TrialEnded
    return process.stdin, process.stdout


async def _end(process: Process) -> None:
    """End the process, if it still runs."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(_FINISH_S):
            await process.wait()
            return
    process.kill()
    await process.wait()


def _trial_event(event: StoredMessage, max_bytes: int) -> TrialEvent:
    stored = Identity.of("", event.sequence, event.stored_at)
    headers = application_headers(event.headers)
    return TrialEvent(event.subject, event.data, headers, event.sequence, stored.timestamp_ns, max_bytes)
