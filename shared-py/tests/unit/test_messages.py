"""Messages keep their id, attempt and subject over retries and in their dead letter."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keda_jobs.domain.dead_letter import DeadLetter, dead_letter, parse_dead_letter
from keda_jobs.domain.headers import header_bytes
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import STREAM_KEEPS, Message, Received
from keda_jobs.domain.policy import Ack, Dead
from keda_jobs.domain.promise import Promise
from keda_jobs.domain.retry import scheduled_retry

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW_NS = 1_767_323_045_000_000_000
ID = Identity("image-download", 7, NOW_NS)
MAX_PAYLOAD = 1024 * 1024
EXACT = [
    b'{"url": 1.00000000000000000001}',
    b"[1, 1e400, 1.10, 1E5, -0]",
    b" {\r\n}\t",
    b'"text"',
    b"null",
    b"0",
    b"9" * 4000,
    b"[" * 300 + b"]" * 300,
    b'{"a":"\\u00e9\\/"}',
    '{"ü": "\U0001f600\u2028"}'.encode(),
]


def received(**changes: object) -> Received:
    fields: dict[str, object] = {
        "subject": "image-download",
        "data": b'{"url":"a"}',
        "headers": {"trace": "1"},
        "num_delivered": 1,
        "sequence": 7,
        "timestamp_ns": NOW_NS,
    }
    return Received(**(fields | changes))  # type: ignore[arg-type]


def message(data: bytes = b'{"url":"a"}', headers: dict[str, str] | None = None) -> Message:
    return Message.from_delivery(received(data=data, headers=headers or {}), "image-download")


def test_a_new_message_is_identified_by_job_sequence_and_time() -> None:
    new = Message.from_delivery(received(num_delivered=2), "image-download")
    assert (new.id, new.attempt, new.subject) == (ID, 2, "image-download")


def test_two_jobs_on_one_subject_never_share_an_id() -> None:
    assert Message.from_delivery(received(), "a").id != Message.from_delivery(received(), "b").id


def test_id_count_subject_headers_and_body_survive_a_retry() -> None:
    first = Message.from_delivery(received(num_delivered=2), "image-download")
    outgoing = scheduled_retry(first, "image-download", 90.5, NOW)
    assert outgoing.subject == "retry.wait.image-download.image-download-7-1767323045000000000"
    assert outgoing.msg_id == "image-download-7-1767323045000000000:retry:2"
    assert outgoing.headers["Nats-Schedule"] == "@at 2026-01-02T03:05:35.500000Z"
    assert outgoing.headers["Nats-Schedule-Target"] == "retry.fire.image-download"

    again = Message.from_delivery(
        received(subject="retry.due.image-download", headers=outgoing.headers, sequence=99), "image-download"
    )
    assert again.attempt == 3
    assert (again.id, again.subject, again.data) == (first.id, first.subject, first.data)
    assert again.headers == {"trace": "1"}


def test_the_age_of_a_message_counts_from_its_first_publish() -> None:
    """Check a retry stored an hour later: it is as old as the event, by any clock that is not behind its own store."""
    first = Message.from_delivery(received(), "image-download")
    assert first.age_s(NOW + timedelta(seconds=3)) == 3
    retry = scheduled_retry(first, "image-download", 3600, NOW)
    later = received(
        subject="retry.due.image-download", headers=retry.headers, sequence=99, timestamp_ns=NOW_NS + 3600 * 10**9
    )
    second = Message.from_delivery(later, "image-download")
    assert second.age_s(NOW + timedelta(seconds=3605)) == 3605
    assert second.age_s(NOW) == 3600


def test_no_clock_and_no_forged_id_gives_an_impossible_age() -> None:
    forged = {"Keda-Jobs-Id": f"image-download-7-{'9' * 20}", "Keda-Jobs-Subject": "image-download"}
    message = Message.from_delivery(received(subject="retry.due.image-download", headers=forged), "image-download")
    assert message.age_s(NOW) == 0
    first = Message.from_delivery(received(), "image-download")
    assert first.age_s(datetime.min.replace(tzinfo=UTC)) == 0
    assert first.age_s(datetime.max.replace(tzinfo=UTC)) == STREAM_KEEPS.total_seconds()


@pytest.mark.parametrize(
    ("decision", "age_s", "is_kept"),
    [(Ack(), 60, True), (Ack(), 60.1, False), (Dead("gone", "HttpGone"), 1, False)],
    ids=["in time", "late", "a dead letter"],
)
def test_a_promise_is_kept_by_what_is_done_in_time(decision: Ack | Dead, age_s: float, is_kept: bool) -> None:
    assert Promise(0.99, within_s=60).is_kept(decision, age_s) is is_kept


def test_library_headers_are_not_trusted_on_an_open_subject() -> None:
    forged = {"Keda-Jobs-Attempt": "14", "Keda-Jobs-Id": "x", "Keda-Jobs-Subject": "other"}
    new = Message.from_delivery(received(headers=forged), "image-download")
    assert (new.id, new.attempt, new.subject) == (ID, 1, "image-download")


@pytest.mark.parametrize(
    "headers",
    [
        {"Keda-Jobs-Attempt": "-3", "Keda-Jobs-Id": "a.b", "Keda-Jobs-Subject": "no subject"},
        {"Keda-Jobs-Attempt": "x", "Keda-Jobs-Id": "*", "Keda-Jobs-Subject": "a.>"},
        {"Keda-Jobs-Attempt": "9" * 5000, "Keda-Jobs-Id": "i" * 300, "Keda-Jobs-Subject": "s" * 300},
        {"Keda-Jobs-Attempt": "", "Keda-Jobs-Id": "", "Keda-Jobs-Subject": ""},
    ],
)
def test_invalid_library_headers_are_not_trusted_anywhere(headers: dict[str, str]) -> None:
    due = Message.from_delivery(received(subject="retry.due.image-download", headers=headers), "image-download")
    assert (due.id, due.attempt, due.subject) == (ID, 1, "retry.due.image-download")


def test_a_header_that_clients_may_not_publish_is_dropped() -> None:
    new = Message.from_delivery(
        received(headers={"a b": "1", "": "2", "ü": "3", "x:y": "4", "Trace-Id": "5"}), "image-download"
    )
    assert new.headers == {"Trace-Id": "5"}


@pytest.mark.parametrize("name", ["Nats-Scheduler", "nats-schedule-next", "Nats-TTL", "Nats-Rollup", "KEDA-JOBS-Id"])
def test_headers_of_the_server_are_never_republished(name: str) -> None:
    new = Message.from_delivery(received(headers={name: "x", "mine": "y"}), "image-download")
    assert scheduled_retry(new, "image-download", 1, NOW).headers["mine"] == "y"
    assert new.headers == {"mine": "y"}


def test_the_body_of_a_dead_letter_is_exactly_subject_data_and_num_delivered() -> None:
    stored = dead_letter(message(), "image-download", Dead("no picture", "NotAnImage"), MAX_PAYLOAD, NOW)
    assert stored.subject == "dead-letter"
    assert json.loads(stored.data) == {"subject": "image-download", "data": {"url": "a"}, "num_delivered": 1}
    assert stored.headers["Nats-TTL"] == "never"
    assert stored.headers["Keda-Jobs-Reason"] == "no picture"


@pytest.mark.parametrize("data", EXACT)
def test_json_is_kept_exactly(data: bytes) -> None:
    stored = dead_letter(message(data), "image-download", Dead("r", "E"), MAX_PAYLOAD, NOW)
    assert stored.headers["Keda-Jobs-Data"] == "json"
    assert b'"data":' + data + b"," in stored.data


@given(st.one_of(st.binary(max_size=300), st.text().map(lambda text: text.encode(errors="replace"))))
def test_any_bytes_give_a_dead_letter_in_json(data: bytes) -> None:
    stored = dead_letter(message(data), "image-download", Dead("r", "E"), MAX_PAYLOAD, NOW)
    body = json.loads(stored.data)
    assert body.keys() == {"subject", "data", "num_delivered"}
    if stored.headers["Keda-Jobs-Data"] in ("text", "escaped"):
        assert isinstance(body["data"], str)


@given(st.binary(min_size=1, max_size=64), st.sampled_from([4096, 65_536, MAX_PAYLOAD]), st.integers(1, 3))
def test_a_dead_letter_never_exceeds_the_servers_limit(pattern: bytes, max_payload: int, share: int) -> None:
    data = (pattern * max_payload)[: max_payload // share]
    stored = dead_letter(
        message(data, {"k" * 50: "v" * (max_payload // 9)}), "image-download", Dead("r", "E"), max_payload, NOW
    )
    size = len(stored.data) + header_bytes({**stored.headers, "Nats-Msg-Id": stored.msg_id})
    assert size <= max_payload
    assert json.loads(stored.data)["subject"] == "image-download"


def test_a_truncated_dead_letter_says_where_the_original_is() -> None:
    stored = dead_letter(message(b"x" * MAX_PAYLOAD), "image-download", Dead("r", "E"), MAX_PAYLOAD, NOW)
    assert stored.headers["Keda-Jobs-Data"] == "truncated"
    assert stored.headers["Keda-Jobs-Size"] == str(MAX_PAYLOAD)
    assert stored.headers["Keda-Jobs-Sequence"] == "7"
    assert json.loads(stored.data)["data"] == "x" * 64 * 1024


def buried(data: bytes, headers: dict[str, str] | None = None) -> DeadLetter:
    """Return the dead letter of `data`, as it is read from the stream."""
    outgoing = dead_letter(message(data, headers), "image-download", Dead("r", "E"), MAX_PAYLOAD, NOW)
    return parse_dead_letter(9, NOW + timedelta(seconds=1), outgoing.data, outgoing.headers)


def test_a_dead_letter_tells_job_subject_error_and_headers() -> None:
    stored = buried(b"{}", {"trace": "1"})
    assert stored.original_headers == {"trace": "1"}
    assert (stored.job, stored.subject, stored.error_class) == ("image-download", "image-download", "E")


@given(st.one_of(st.binary(max_size=300), st.text().map(str.encode), st.sampled_from(EXACT)))
@example(b'{"a": "\\ud800"}')
@example(b"\\xff and \xff \\\\")
@example(b"\xef\xbb\xbf{}")
@example(b' {"a":\t1.10}\r\n')
@example(b'1,"num_delivered":3}')
def test_a_dead_letter_holds_the_event_to_the_byte(data: bytes) -> None:
    assert buried(data).original == data


def test_a_dead_letter_that_somebody_changed_does_not_pass_for_the_event() -> None:
    outgoing = dead_letter(message(b'{"n":1}'), "image-download", Dead("r", "E"), MAX_PAYLOAD, NOW)
    changed = outgoing.data.replace(b'"n":1', b'"n":2')
    assert parse_dead_letter(9, NOW, changed, outgoing.headers).original is None


@pytest.mark.parametrize(
    ("data", "original"), [(b' {"n": 1.10}', b'{"n": 1.10}'), (b'"text"', b'"text"'), (b"NaN", None), (b"{} {}", None)]
)
def test_of_a_dead_letter_from_elsewhere_only_json_is_taken(data: bytes, original: bytes | None) -> None:
    body = b'{"subject": "image-download", "data":%s, "num_delivered": 3}' % data
    assert parse_dead_letter(9, NOW, body, {}).original == original


def test_a_dead_letter_names_the_event_itself_after_retries() -> None:
    first = Message.from_delivery(received(sequence=7), "image-download")
    retry = scheduled_retry(first, "image-download", 1, NOW)
    again = Message.from_delivery(
        received(subject="retry.due.image-download", headers=retry.headers, sequence=99), "image-download"
    )
    headers = dead_letter(again, "image-download", Dead("r", "E"), MAX_PAYLOAD, NOW).headers
    assert (headers["Keda-Jobs-Sequence"], headers["Keda-Jobs-Published-At"]) == ("7", NOW.isoformat())


def test_headers_that_do_not_fit_make_it_truncated() -> None:
    assert buried(b"{}", {"k": "v" * 40_000}).kind == "truncated"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b'{"subject":1,"data":2,"num_delivered":"x"}', b"[" * 5000]
)
def test_a_foreign_dead_letter_can_be_shown(body: bytes) -> None:
    assert parse_dead_letter(9, NOW, body, {}).num_delivered == 0


def test_what_is_no_json_is_kept_whole_where_it_fits() -> None:
    def data_kind(size: int) -> tuple[str, int]:
        sent = dead_letter(message(b"\xff" * size), "image-download", Dead("r", "E"), MAX_PAYLOAD, NOW)
        return sent.headers["Keda-Jobs-Data"], len(json.loads(sent.data)["data"])

    assert data_kind(200 * 1024) == ("escaped", 4 * 200 * 1024)
    assert data_kind(MAX_PAYLOAD // 2) == ("truncated", 4 * 64 * 1024)
