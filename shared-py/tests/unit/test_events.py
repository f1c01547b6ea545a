"""Invalid input gives a readable reason and never a crash."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.domain.event import Event, InvalidEvent


class Order(Event, subject="order"):
    url: str
    count: int = 0
    weight: float = 0.0


def reason(data: bytes) -> str:
    with pytest.raises(InvalidEvent) as caught:
        Order.decode(data)
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON: Expecting value"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8: byte 0 is 0xff"),
        (b'\xef\xbb\xbf{"url":"a"}', "not JSON"),
        (b"[]", "Order: Input should be an object"),
        (b"null", "Order: Input should be an object"),
        (b"{}", "Order: url: Field required"),
        (b'{"url": 5}', "Order: url: Input should be a valid string"),
        (b'{"url": null}', "Order: url: Input should be a valid string"),
        (b'{"url": "a", "count": "5"}', "Order: count: Input should be a valid integer"),
        (b'{"url": "a", "count": true}', "Order: count: Input should be a valid integer"),
        (b'{"url": "a", "weight": NaN}', "NaN is not JSON"),
        (b'{"url": "a", "other": -Infinity}', "-Infinity is not JSON"),
        (b'{"url": "a", "weight": 1e999}', "Order: weight: Input should be a finite number"),
        (b'{"url": "a", "url": "b"}', "the key 'url' occurs twice"),
        (b'{"url": "a", "other": [{"x": 1, "x": 2}]}', "the key 'x' occurs twice"),
        (b'{"url": "\\ud800"}', "half a surrogate pair"),
        (b'{"url": "a", "other": ["\\udfff"]}', "half a surrogate pair"),
        (b'{"url": "a", "other": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"url": "a", "other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"url": 1, "count": "x"}', "(and 1 more)"),
    ],
)
def test_an_invalid_event_is_refused_with_a_reason(data: bytes, words: str) -> None:
    assert words in reason(data)


def test_a_deeply_nested_event_is_refused_even_where_the_parser_would_take_it() -> None:
    assert reason(b'{"url": "a", "other": ' + b"[" * 500 + b"]" * 500 + b"}")


def test_unknown_fields_pass() -> None:
    assert Order.decode(b'{"url": "a", "other": {"x": [1, null]}}') == Order(url="a")


def test_a_hundred_thousand_keys_are_read_in_linear_time() -> None:
    data = json.dumps({"url": "a", **{f"k{n}": n for n in range(100_000)}}).encode()
    assert Order.decode(data).url == "a"


@given(st.binary(max_size=200))
def test_no_bytes_raise_any_other_error(data: bytes) -> None:
    with contextlib.suppress(InvalidEvent):
        Order.decode(data)


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_an_event_survives_the_wire(url: str, count: int, weight: float) -> None:
    order = Order(url=url, count=count, weight=weight)
    assert Order.decode(order.encode()) == order
