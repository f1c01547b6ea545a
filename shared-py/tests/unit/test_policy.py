"""Decisions about a message: its outcome and the time of its retry."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.domain.emitted import EncodedEvent
from keda_jobs.domain.event import Event
from keda_jobs.domain.message import STREAM_KEEPS, Message, Received
from keda_jobs.domain.policy import (
    LONGEST_DELAY_S,
    LONGEST_RETRY_AFTER_S,
    Ack,
    Dead,
    Decision,
    Failed,
    Hold,
    Retry,
    RetryPolicy,
    Succeeded,
    describe,
)
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.errors import Permanent, PlatformError, RetryAfter, StoreUnavailable, Transient
from keda_jobs.runtime.backoff import backoff_s

attempts = st.integers(1, 40)


class Made(Event, subject="made"):
    pass


def after(error: Exception, attempt: int) -> Decision:
    return RetryPolicy().decide(Failed(error), attempt)


def test_fifteen_deliveries_wait_seventy_one_and_three_quarter_hours() -> None:
    delays = []
    for attempt in range(1, 15):
        match after(Transient("away"), attempt):
            case Retry(delay_s):
                delays.append(delay_s)
    assert len(delays) == 14
    assert sum(delays) == 71.75 * 3600
    assert isinstance(after(Transient("away"), 15), Dead)


def test_success_acks_with_its_events() -> None:
    made = EncodedEvent(Made(), "made", b"{}")
    assert RetryPolicy().decide(Succeeded((made,)), 3) == Ack((made,))


@given(attempts)
def test_a_permanent_error_is_a_dead_letter_at_any_attempt(attempt: int) -> None:
    assert after(Permanent("no picture"), attempt) == Dead("Permanent: no picture", "Permanent")


@given(attempts)
def test_a_platform_failure_never_uses_up_a_delivery(attempt: int) -> None:
    assert isinstance(after(StoreUnavailable("away"), attempt), Hold)


@given(attempts)
def test_an_unknown_error_is_retried_up_to_the_limit(attempt: int) -> None:
    decision = after(ZeroDivisionError("by zero"), attempt)
    if attempt < 15:
        assert decision == Retry(attempt * 2460.0, "ZeroDivisionError: by zero", "ZeroDivisionError")
    else:
        assert decision == Dead("ZeroDivisionError: by zero", "ZeroDivisionError")


def test_an_error_may_limit_its_deliveries() -> None:
    assert isinstance(after(Transient("unknown host", max_deliveries=3), 2), Retry)
    assert isinstance(after(Transient("unknown host", max_deliveries=3), 3), Dead)


@given(attempts, st.floats() | st.integers())
def test_retry_after_lengthens_a_retry_by_a_day_at_most(attempt: int, wish_s: float) -> None:
    decision = after(RetryAfter("busy", delay_s=wish_s), attempt)
    if isinstance(decision, Retry):
        assert attempt * 2460.0 <= decision.delay_s <= max(attempt * 2460.0, LONGEST_RETRY_AFTER_S)


@given(wish=st.none() | st.text() | st.timedeltas() | st.floats() | st.integers())
def test_a_wish_that_is_no_number_is_none(wish: Any) -> None:
    decision = after(RetryAfter("busy", delay_s=wish), 1)
    assert isinstance(decision, Retry)
    assert 2460.0 <= decision.delay_s <= LONGEST_RETRY_AFTER_S
    limited = after(Transient("down", max_deliveries=wish), 1)
    assert isinstance(limited, Retry if not isinstance(wish, int) or wish > 1 else Dead)


@given(wish=st.none() | st.text() | st.floats() | st.integers())
def test_a_pause_of_everybody_lasts_a_day_at_most(wish: Any) -> None:
    decision = RetryPolicy().decide(Failed(PlatformError("quota used up", delay_s=wish)), 1)
    assert isinstance(decision, Hold)
    assert 0 <= decision.delay_s <= LONGEST_RETRY_AFTER_S
    if isinstance(wish, int) and 0 < wish < LONGEST_RETRY_AFTER_S:
        assert decision.delay_s == wish


def test_a_long_step_is_not_shortened_by_retry_after() -> None:
    policy = RetryPolicy(15, 2 * LONGEST_RETRY_AFTER_S)
    retry = Retry(2 * LONGEST_RETRY_AFTER_S, "RetryAfter: busy", "RetryAfter")
    assert policy.decide(Failed(RetryAfter("busy", delay_s=60)), 1) == retry


STAMP = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STAMP_NS = int(STAMP.timestamp()) * 10**9


@given(
    step_s=st.floats(1e-6, 366 * 24 * 3600),
    attempt=st.integers(1, 9_999),
    error=st.builds(RetryAfter, st.just("busy"), delay_s=st.floats() | st.integers()) | st.builds(Transient),
    clock=st.datetimes(timezones=st.just(UTC)),
)
def test_no_step_header_or_clock_schedules_a_retry_beyond_what_the_stream_keeps(
    step_s: float, attempt: int, error: Exception, clock: datetime
) -> None:
    received = Received("made", b"{}", {}, attempt, 7, STAMP_NS)
    message = Message.from_delivery(received, "maker")
    decision = RetryPolicy(10_000, step_s).decide(Failed(error), attempt)
    assert isinstance(decision, Retry)
    assert decision.delay_s <= LONGEST_DELAY_S < STREAM_KEEPS.total_seconds()
    schedule = scheduled_retry(message, "maker", decision.delay_s, message.server_time(clock)).headers["Nats-Schedule"]
    due = datetime.fromisoformat(schedule.removeprefix("@at "))
    assert STAMP <= due <= STAMP + STREAM_KEEPS + timedelta(seconds=LONGEST_DELAY_S)


def test_the_sixteenth_delivery_is_dead_lettered_without_running() -> None:
    policy = RetryPolicy()
    assert not policy.exhausted(15)
    assert policy.exhausted(16)
    assert policy.too_many(16) == Dead("delivery limit exceeded (16 > 15), handler not run", "DeliveriesExhausted")


@given(st.text(max_size=2000))
def test_a_reason_is_one_short_printable_line(text: str) -> None:
    line = describe(ValueError(text))
    assert line.isprintable()
    assert len(line) <= 500
    assert line.startswith("ValueError")


@given(st.integers(0, 10_000))
def test_a_pause_grows_and_stays_bounded(tries: int) -> None:
    assert 0.25 <= backoff_s(tries, max_s=15.0) <= 15.0
