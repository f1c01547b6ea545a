"""Events for later, as the messages that NATS holds until they are due."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.delay import MAX_DELAY, InvalidDelay, check_due, delayed, due_in
from keda_jobs.domain.subjects import DELAYED_STREAM, is_literal, stream_of

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
EVENT = Outgoing("orders.paid", b"{}", "order 17 > ü", {"traceparent": "00-1-2-01"})


def test_a_delayed_event_waits_in_its_stream_and_fires_at_its_own_subject() -> None:
    waiting = delayed(EVENT, NOW)

    assert waiting.headers == {
        "traceparent": "00-1-2-01",
        "Nats-Schedule": "@at 2026-11-27T12:00:00.000000Z",
        "Nats-Schedule-Target": "delay.fire.orders.paid",
    }
    assert (waiting.data, waiting.msg_id) == (EVENT.data, EVENT.msg_id)
    assert is_literal(waiting.subject)
    assert waiting.subject.startswith("delay.wait.sent.")
    assert stream_of(waiting.subject) == stream_of("delay.fire.orders.paid") == DELAYED_STREAM


def test_the_time_is_sent_in_utc() -> None:
    due = datetime(2026, 11, 27, 13, tzinfo=timezone(timedelta(hours=1)))
    assert delayed(EVENT, due).headers["Nats-Schedule"] == "@at 2026-11-27T12:00:00.000000Z"


def test_one_id_waits_once_whenever_it_is_due_and_others_beside_it() -> None:
    same = delayed(EVENT, NOW + timedelta(hours=1))
    other_id = delayed(Outgoing("orders.paid", b"{}", "order 18"), NOW)
    other_subject = delayed(Outgoing("orders.sent", b"{}", EVENT.msg_id), NOW)
    of_a_job = delayed(EVENT, NOW, "job.mail")

    assert same.subject == delayed(EVENT, NOW).subject
    assert len({same.subject, other_id.subject, other_subject.subject, of_a_job.subject}) == 4


@pytest.mark.parametrize("delay_s", [-1, math.nan, math.inf, -math.inf, MAX_DELAY.total_seconds() + 1, 1e300])
def test_a_delay_that_is_none_is_refused(delay_s: float) -> None:
    with pytest.raises(InvalidDelay, match=r"^a delay of .* s is not from 0 s to 365 days$"):
        due_in(delay_s, NOW)


def test_a_delay_ends_that_much_later() -> None:
    assert due_in(90.5, NOW) - NOW == timedelta(seconds=90.5)


@pytest.mark.parametrize(
    ("due", "reason"),
    [
        (NOW - timedelta(seconds=1), r"is in the past: it is 2026-11-27T12:00:00\+00:00"),
        # NATS counts 64 bits of nanoseconds, and would publish it at once.
        (datetime(2300, 1, 1, tzinfo=UTC), "is more than 365 days away"),
        (datetime.max.replace(tzinfo=UTC), "is more than 365 days away"),
        (
            datetime(2026, 12, 1, tzinfo=UTC).replace(tzinfo=None),
            "has no time zone: write 2026-12-01T00:00:00Z for UTC",
        ),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused(due: datetime, reason: str) -> None:
    with pytest.raises(InvalidDelay, match=reason):
        check_due(due, NOW)


def test_a_time_within_a_year_is_taken() -> None:
    check_due(NOW, NOW)
    check_due(NOW + MAX_DELAY, NOW)
