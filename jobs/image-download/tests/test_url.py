"""Accepted URLs and the way they are displayed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from image_download.url import BadUrl, display, parse_url


@pytest.mark.parametrize(
    "text",
    [
        "", "example.com/a.jpg", "//example.com/a.jpg", "ftp://example.com/a", "file:///etc/passwd", "data:image/png,",
        "gopher://example.com/", "javascript:alert(1)", "http://", "http:///a", "http:example.com", "http://user@h/",
        "http://user:secret@h/", "http://:secret@h/", "http://example.com@bad.com/", "http://h /", " http://h/",
        "http://h/a b", "http://h/a\tb", "http://h/\r\nHost: x", "http://h/\x00", "http://h\\@bad.com/", "http://h/\\a",
        "http://h/\u00a0", "http://h/\u200b", "http://h/\u2028", "http://h/\ud800", "http://h:99999/", "http://h:x/",
        "http://[::1/", "http://[::1]x/", "http://a..b/", "http://.a/", "http://%31%32%37.0.0.1/", "http://h%00/",
        "http://[fe80::1%25eth0]/", "http://" + "a" * 64 + ".com/", "http://h/" + "a" * 2040,
    ],
)  # fmt: skip
def test_an_unacceptable_url_is_refused(text: str) -> None:
    with pytest.raises(BadUrl) as refused:
        parse_url(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("http://h?q", "http://h/?q"),
        ("HTTPS://Example.COM:443/A?b=c%3Dd%26e#f", "https://example.com/A?b=c%3Dd%26e#f"),
        ("http://bücher.example/ä?ö=ü", "http://xn--bcher-kva.example/%C3%A4?%C3%B6=%C3%BC"),
        ("http://①②⑦.⓪.⓪.①/", "http://127.0.0.1/"),
        ("http://[2606:4700::1]:80/", "http://[2606:4700::1]/"),
        ("http://under_score.example./", "http://under_score.example./"),
        ("http://h/a%2Fb%20c+d", "http://h/a%2Fb%20c+d"),
    ],
)
def test_an_acceptable_url_is_requested_in_its_canonical_form(text: str, asked: str) -> None:
    assert str(parse_url(text)) == asked


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/x?y", "http://h/x?y"),
        ("x", "http://h/a/x"),
        ("../x", "http://h/x"),
        ("//other/x", "http://other/x"),
        ("https://other/", "https://other/"),
    ],
)
def test_a_location_is_relative_to_the_url_that_sent_it(location: str, target: str) -> None:
    assert str(parse_url(location, base=URL("http://h/a/b?c"))) == target


@pytest.mark.parametrize("location", ["ftp://h/", "//user:pw@h/", "http://h/ x", "data:,x", "//h\\x", "a" * 2049])
def test_a_location_passes_the_same_checks(location: str) -> None:
    with pytest.raises(BadUrl):
        parse_url(location, base=URL("http://h/a/b"))


def test_a_displayed_url_contains_no_secret_and_stays_short() -> None:
    shown = display(URL("https://user:pw@h.example:8443/a/ü?token=secret#fragment"))
    assert shown == "https://h.example:8443/a/%C3%BC"
    assert len(display(URL("http://h/" + "a" * 2000))) == 200


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://h/", "http://h?"]))
def test_any_text_is_either_refused_or_displayed_as_printable_ascii(text: str, prefix: str) -> None:
    try:
        url = parse_url(prefix + text)
    except BadUrl:
        return
    assert url.scheme in ("http", "https")
    assert display(url).isascii()
    assert display(url).isprintable()
