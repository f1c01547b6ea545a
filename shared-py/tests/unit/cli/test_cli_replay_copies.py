"""Messages that a replay publishes for a dead letter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.dead_letter import DeadLetter, parse_dead_letter
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message, Received
from keda_jobs.jetstream.replay import CannotReplay, replay_message, replay_subject

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
BODY = b'{"subject": "image-download", "data": {"url": "u"}, "num_delivered": 15}'
DEAD_LETTER = parse_dead_letter(
    7, NOW, BODY, {"Keda-Jobs-Job": "image-download", "Keda-Jobs-Id": "image-download-3", "Trace": "t"}
)


def copy(dead: DeadLetter = DEAD_LETTER, *, to_subject: bool) -> Outgoing:
    return replay_message(dead, b"{}", dead.original_headers, to_subject=to_subject)


def test_the_copy_is_a_new_first_attempt_for_the_job_that_failed() -> None:
    made = copy(to_subject=False)

    assert made.subject == "retry.fire.image-download"
    delivered = Received("retry.due.image-download", made.data, made.headers, 1, 99, 1)
    message = Message.from_delivery(delivered, "image-download")
    assert (message.subject, message.attempt, message.id) == ("image-download", 1, Identity("image-download", 99, 1))
    assert message.headers == {"Trace": "t"}


def test_the_copy_for_all_consumers_has_the_events_subject_and_headers() -> None:
    made = copy(to_subject=True)

    assert (made.subject, made.data, made.headers) == ("image-download", b"{}", {"Trace": "t"})


def test_the_id_of_a_copy_names_the_dead_letter_and_where_it_goes() -> None:
    again = replace(DEAD_LETTER, died_at=NOW + timedelta(microseconds=1))
    made = [copy(dead, to_subject=to_subject) for dead in (DEAD_LETTER, again) for to_subject in (True, False)]

    assert len({one.msg_id for one in made}) == 4
    assert copy(to_subject=True).msg_id == made[0].msg_id


@pytest.mark.parametrize(
    "body", [b"text", b"{}", b'{"data": 1}', b'{"subject": null, "data": 1}', b'{"subject": [], "data": 1}']
)
@pytest.mark.parametrize("to_subject", [True, False])
def test_a_dead_letter_without_a_subject_cannot_be_replayed(body: bytes, to_subject: bool) -> None:
    with pytest.raises(CannotReplay):
        replay_subject(parse_dead_letter(7, NOW, body, {}), to_subject=to_subject)
