"""Messages that a replay publishes for a dead letter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.dead_letter import parse_dead_letter
from keda_jobs.domain.headers import Header
from keda_jobs.domain.message import Message, Received
from keda_jobs.jetstream.reader import StoredMessage
from keda_jobs.jetstream.replay import CannotReplay, is_original, replay_message

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
BODY = b'{"subject": "image-download", "data": {"url": "u"}, "num_delivered": 15}'
DEAD_LETTER = parse_dead_letter(
    7, NOW, BODY, {"Keda-Jobs-Job": "image-download", "Keda-Jobs-Id": "image-download-3", "Trace": "t"}
)


def test_the_copy_is_a_new_first_attempt_for_the_job_that_failed() -> None:
    copy = replay_message(DEAD_LETTER, b"{}", to_subject=False)

    assert copy.subject == "retry.fire.image-download"
    delivered = Received("retry.due.image-download", copy.data, copy.headers, 1, 99, NOW)
    message = Message.from_delivery(delivered, "image-download")
    assert (message.subject, message.attempt, message.id) == ("image-download", 1, "image-download-99")
    assert message.headers == {"Trace": "t"}


def test_the_copy_for_all_consumers_has_the_events_subject_and_headers() -> None:
    assert replay_message(DEAD_LETTER, b"{}", to_subject=True) == Outgoing(
        "image-download", b"{}", "replay:7", {"Trace": "t"}
    )


@pytest.mark.parametrize("to_subject", [True, False])
def test_every_copy_of_a_dead_letter_has_the_same_id(to_subject: bool) -> None:
    assert replay_message(DEAD_LETTER, b"{}", to_subject=to_subject).msg_id == "replay:7"


@pytest.mark.parametrize(
    "body", [b"text", b"{}", b'{"data": 1}', b'{"subject": null, "data": 1}', b'{"subject": [], "data": 1}']
)
@pytest.mark.parametrize("to_subject", [True, False])
def test_a_dead_letter_without_a_subject_cannot_be_replayed(body: bytes, to_subject: bool) -> None:
    with pytest.raises(CannotReplay):
        replay_message(parse_dead_letter(7, NOW, body, {}), b"", to_subject=to_subject)


@pytest.mark.parametrize(
    ("stored", "same"),
    [
        (StoredMessage("image-download", 3, NOW, {}, b"12345"), True),
        (StoredMessage("retry.due.image-download", 3, NOW, {"Keda-Jobs-Subject": "image-download"}, b"12345"), True),
        (StoredMessage("image-download", 3, NOW + timedelta(microseconds=1), {}, b"12345"), True),
        (StoredMessage("image-download", 3, NOW + timedelta(seconds=1), {}, b"12345"), False),
        (StoredMessage("image-download", 3, NOW, {}, b"1234"), False),
        (StoredMessage("image-downloaded", 3, NOW, {}, b"12345"), False),
    ],
)
def test_an_original_is_recognized_by_subject_size_and_time(stored: StoredMessage, same: bool) -> None:
    changed = replace(DEAD_LETTER, headers={Header.SIZE: "5", Header.PUBLISHED_AT: NOW.isoformat()})

    assert is_original(changed, stored) is same
    assert not is_original(replace(changed, headers={Header.SIZE: "5", Header.PUBLISHED_AT: "yesterday"}), stored)
    assert not is_original(replace(changed, headers={}), stored)
