"""Decisions on messages: a pure function from a handler's result and the attempt to what the loop does next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, assert_never, get_args

from keda_jobs.domain.emitted import EncodedEvent
from keda_jobs.errors import Permanent, PlatformError, RetryAfter, Transient


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Result of a handler that returned. Its events are to be published."""

    events: tuple[EncodedEvent, ...] = ()


class HandlerQuit(Exception):
    """The handler raised what ends a task or a program, such as `CancelledError` or `SystemExit`.

    Only a shutdown ends the process, so this is a bug like any other.
    """


class HandlerTimeout(Transient):
    """The handler ran longer than HANDLER_TIMEOUT_S."""


def failure_of(error: BaseException) -> Exception:
    """Return the failure of a handler that raised `error`. One error in a group, as of a TaskGroup, is that error."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, Exception):
        return error
    failure = HandlerQuit(f"the handler raised {describe(error)}")
    failure.__cause__ = error
    return failure


@dataclass(frozen=True, slots=True)
class Failed:
    """Result of a handler, or of reading its event, that raised."""

    error: Exception


HandlerResult = Succeeded | Failed


@dataclass(frozen=True, slots=True)
class Ack:
    """Publish the events, then acknowledge."""

    outcome: ClassVar[str] = "acked"
    reason: ClassVar[None] = None
    error_class: ClassVar[None] = None

    events: tuple[EncodedEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """Schedule the next delivery in `delay_s` seconds, then acknowledge."""

    outcome: ClassVar[str] = "retried"

    delay_s: float
    reason: str
    error_class: str


@dataclass(frozen=True, slots=True)
class Dead:
    """Publish a dead letter, then acknowledge."""

    outcome: ClassVar[str] = "dead_lettered"

    reason: str
    error_class: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the message, and run the handler again after a backoff. A shutdown returns the message to the broker."""

    outcome: ClassVar[str] = "returned"
    error_class: ClassVar[None] = None

    reason: str
    delay_s: float = 0.0
    """The backoff is no shorter."""


Settlement = Ack | Retry | Dead
Decision = Settlement | Hold

ACK_UNCONFIRMED = "ack_unconfirmed"
"""Outcome of a delivery whose decision was published and whose ack the server never confirmed."""

OUTCOMES = (*(decision.outcome for decision in get_args(Decision)), ACK_UNCONFIRMED)


LONGEST_DELAY_S = 7 * 24 * 3600.0
"""Longest wait of one retry: half of what the stream keeps, so that a due retry has time left to be read."""

LONGEST_RETRY_AFTER_S = 24 * 3600.0
"""Longest wait that Retry-After can ask for."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits of the retries: retry n waits n × `step_s` seconds, at most `LONGEST_DELAY_S`.

    Fifteen deliveries with a step of 2460 s wait (1 + … + 14) × 2460 s = 71.75 h in all.
    """

    max_deliveries: int = 15
    step_s: float = 2460.0

    def exhausted(self, attempt: int) -> bool:
        """Return whether delivery number `attempt` exceeds the limit, so that the handler must not run."""
        return attempt > self.max_deliveries

    def decide(self, result: HandlerResult, attempt: int) -> Decision:
        """Decide on delivery number `attempt` after its handler."""
        match result:
            case Succeeded(events):
                return Ack(events)
            case Failed(PlatformError() as error):
                return Hold(describe(error), requested_delay_s(error))
            case Failed(error):
                return self.after_failure(error, attempt)
            case _:
                assert_never(result)

    def too_many(self, attempt: int) -> Dead:
        """Decide on a message whose worker died at every delivery before number `attempt`."""
        return Dead(
            f"delivery limit exceeded ({attempt} > {self.max_deliveries}), handler not run", "DeliveriesExhausted"
        )

    def after_failure(self, error: Exception, attempt: int) -> Retry | Dead:
        """Decide on attempt number `attempt` that failed with `error`, which is not a `PlatformError`."""
        reason, error_class = describe(error), class_name(error)
        limit = self.max_deliveries
        # The author of a handler sets this attribute. What is no number sets nothing.
        if isinstance(error, Transient) and isinstance(error.max_deliveries, int):
            limit = min(limit, error.max_deliveries)
        if isinstance(error, Permanent) or attempt >= limit:
            return Dead(reason, error_class)
        delay_s = attempt * self.step_s
        if isinstance(error, RetryAfter):
            delay_s = max(delay_s, requested_delay_s(error))
        return Retry(min(delay_s, LONGEST_DELAY_S), reason, error_class)


def requested_delay_s(error: RetryAfter | PlatformError) -> float:
    """Return the seconds that a server asked for, at most `LONGEST_RETRY_AFTER_S`.

    The author of a handler sets the attribute. What is no number, such as a missing Retry-After, asks for nothing.
    """
    if not isinstance(error.delay_s, int | float):
        return 0.0
    return max(0.0, min(error.delay_s, LONGEST_RETRY_AFTER_S))


def describe(error: BaseException) -> str:
    """Return one printable line of at most 500 characters: class and text of `error`."""
    text = " ".join(_text(error)[:2000].split())
    return _printable(f"{class_name(error)}: {text}" if text else class_name(error))[:500]


def class_name(error: BaseException) -> str:
    """Return the printable name of the class of `error`, at most 100 characters."""
    return _printable(type(error).__name__[:100])


def _text(error: BaseException) -> str:
    """Return the text of `error`. The class is the author's, and its `__str__` may fail."""
    try:
        return str(error)
    except BaseException as failure:
        return f"its text cannot be read ({class_name(failure)})"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
