"""What becomes of a message: a pure function from its outcome and its attempt to a decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from keda_jobs.domain.event import Event
from keda_jobs.errors import Permanent, PlatformError, RetryAfter, Transient


@dataclass(frozen=True, slots=True)
class Done:
    """The handler returned; its events are to be published."""

    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler, or the reading of its event, raised."""

    error: Exception


Outcome = Done | Failed


@dataclass(frozen=True, slots=True)
class Ack:
    """Publish the events, then acknowledge."""

    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """Schedule the next delivery in `delay_s` seconds, then acknowledge."""

    delay_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Dead:
    """Publish a dead letter, then acknowledge."""

    reason: str
    error_class: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the message in hand and try again when the platform has had a pause."""

    reason: str


Decision = Ack | Retry | Dead | Hold


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits of the retries, in seconds: retry n waits n × `step_s`, and Retry-After at most `longest_delay_s`.

    Fifteen deliveries with a step of 2460 s wait (1 + … + 14) × 2460 s = 71.75 h in all.
    """

    max_deliveries: int = 15
    step_s: float = 2460.0
    longest_delay_s: float = 24 * 3600.0

    def exhausted(self, attempt: int) -> bool:
        """Whether delivery number `attempt` is one too many to run the handler at all."""
        return attempt > self.max_deliveries

    def decide(self, outcome: Outcome, attempt: int) -> Decision:
        """The decision for the outcome of delivery number `attempt`."""
        match outcome:
            case Done(events):
                return Ack(events)
            case Failed(PlatformError() as error):
                return Hold(describe(error))
            case Failed(error):
                return self.after_failure(error, attempt)
            case _:
                assert_never(outcome)

    def too_many(self, attempt: int) -> Dead:
        """The decision for a message whose worker died at every delivery before number `attempt`."""
        return Dead(
            f"delivery limit exceeded ({attempt} > {self.max_deliveries}), handler not run", "DeliveriesExhausted"
        )

    def after_failure(self, error: Exception, attempt: int) -> Retry | Dead:
        """The decision for try number `attempt` that failed by `error`, which is not the platform's."""
        reason = describe(error)
        limit = self.max_deliveries
        if isinstance(error, Transient) and error.max_deliveries is not None:
            limit = min(limit, error.max_deliveries)
        if isinstance(error, Permanent) or attempt >= limit:
            return Dead(reason, type(error).__name__)
        delay_s = attempt * self.step_s
        if isinstance(error, RetryAfter):
            delay_s = min(max(delay_s, error.delay_s), self.longest_delay_s)
        return Retry(delay_s, reason)


def error_class_of(decision: Decision) -> str | None:
    """The class of the error that led to `decision`, None where there was none."""
    match decision:
        case Retry(_, reason):
            return reason.partition(":")[0]
        case Dead(_, error_class):
            return error_class
        case Ack() | Hold():
            return None
        case _:
            assert_never(decision)


def describe(error: BaseException) -> str:
    """One printable line of at most 500 characters: class and text of `error`."""
    text = " ".join(str(error).split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return "".join(char if char.isprintable() else "?" for char in line)[:500]
