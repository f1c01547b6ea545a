"""Header blocks: whatever the bytes, they are read as text that may be printed and sent again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.domain.headers import Headers, application_headers

lines = st.one_of(st.binary(max_size=40), st.tuples(st.binary(max_size=9), st.binary(max_size=40)).map(b": ".join))
blocks = st.one_of(
    st.binary(max_size=200),
    st.tuples(st.sampled_from([b"NATS/1.0", b"NATS/1.0 503", b"NATS"]), st.lists(lines)).map(
        lambda parts: b"\r\n".join([parts[0], *parts[1], b"", b""])
    ),
)


def encode(headers: dict[str, str]) -> bytes:
    return b"".join([b"NATS/1.0\r\n", *(f"{name}: {value}\r\n".encode() for name, value in headers.items()), b"\r\n"])


@given(blocks)
def test_any_bytes_become_text_that_survives_being_sent_again(block: bytes) -> None:
    headers = Headers.parse(block)
    assert not any(character in text for text in [*headers, *headers.values()] for character in "\r\n\0\x1b\x85")
    assert Headers.parse(encode(headers)) == headers
    assert Headers.parse(encode(headers)).readable


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        (b"NATS/1.0\r\n\r\n", {}),
        (b"NATS/1.0\r\nA: 1\r\nb:2\r\n\r\n", {"A": "1", "b": "2"}),
        (b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n", {"A": "2"}),
        (b"NATS/1.0\r\nA: 1", {"A": "1"}),
        (b"NATS/1.0\r\nA: 1\r\n  folded: 2\r\nno colon\r\n: no name\r\nB : 3\r\n\xc3\xa9: 4\r\n\r\n", {"A": "1"}),
        ("NATS/1.0\r\nA: é\r\n\r\n".encode(), {"A": "é"}),
        (b"NATS/1.0\r\nA: \xe9\r\n\r\n", {"A": r"\xe9"}),
        (b"NATS/1.0\r\nA: 1\n2\x003\x1b[31m\r\n\r\n", {"A": r"1\n2\x003\x1b[31m"}),
        (b"NATS/1.0\r\nA: \xed\xa0\x80\r\n\r\n", {"A": r"\xed\xa0\x80"}),
        (b"NATS/1.0\r\nStatus: 503\r\nDescription: x\r\n\r\n", {"Status": "503", "Description": "x"}),
    ],
)
def test_fields_are_what_looks_like_one(block: bytes, fields: dict[str, str]) -> None:
    headers = Headers.parse(block)
    assert (headers, headers.status, headers.readable) == (fields, "", True)


@pytest.mark.parametrize(
    "block",
    [b"", b"N", b"NATS/1.0", b"NATS/1.0\n\n", b"NATS/1.1\r\n\r\n", b"\xff\r\n\r\n", b"NATS/1.0 \xff\xff\r\n\r\n"],
)
def test_a_block_with_another_first_line_is_unreadable(block: bytes) -> None:
    assert not Headers.parse(block).readable


@pytest.mark.parametrize(
    ("line", "status", "description"),
    [
        (b"NATS/1.0 404", "404", ""),
        (b"NATS/1.0 408 Request Timeout", "408", "Request Timeout"),
        (b"NATS/1.0 503  ", "503", ""),
    ],
)
def test_a_status_is_in_the_first_line(line: bytes, status: str, description: str) -> None:
    headers = Headers.parse(line + b"\r\nStatus: 200\r\nNats-Subject: greet\r\n\r\n")
    assert (headers.status, headers.description) == (status, description)
    assert headers == {"Status": "200", "Nats-Subject": "greet"}


def test_the_server_s_headers_and_ours_are_no_applications() -> None:
    sent = Headers.parse(
        b"NATS/1.0\r\nNats-TTL: 1\r\nkeda-jobs-id: x\r\nKEDA-JOBS-JOB: y\r\nStatus: 503\r\nA: 1\r\n\r\n"
    )
    assert application_headers(sent) == {"Status": "503", "A": "1"}
