"""Accepted URLs and the way they are displayed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from image_download.url import BadUrl, display, parse_url, resolve


@pytest.mark.parametrize(
    "text",
    [
        "", "example.com/a.jpg", "//example.com/a.jpg", "ftp://example.com/a", "file:///etc/passwd", "data:image/png,",
        "gopher://example.com/", "javascript:alert(1)", "http://", "http:///a", "http:example.com", "http://user@h/",
        "http://user:secret@h/", "http://:secret@h/", "http://example.com@bad.com/", "http://h /", " http://h/",
        "http://h/a b", "http://h/a\tb", "http://h/\r\nHost: x", "http://h/\x00", "http://h\\@bad.com/", "http://h/\\a",
        "http://h/\u00a0", "http://h/\u200b", "http://h/\u2028", "http://h/\ud800", "http://h:99999/", "http://h:x/",
        "http://[::1/", "http://[::1]x/", "http://a..b/", "http://.a/", "http://%31%32%37.0.0.1/", "http://h%00/",
        "http://[fe80::1%25eth0]/", "http://" + "a" * 64 + ".com/", "http://h/" + "a" * 2040, "http://@h/",
        "http://h@/", "http:///h/", "http:/h/", "https:h/", "///h/", "http://[1::2::3]/", "http://[:0a]/",
        "http://[::1.2.3]/", "http://[①:a]/", "http://[v1.a]/", "http://[h]/", "http://h:+80/", "http://h:8_0/",
        "http://h:\uff18\uff10/", "http://[::1]:+80/",
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
        ("http://h?", "http://h/?"),
        ("HTTPS://Example.COM:443/A?b=c%3Dd%26e#f", "https://example.com/A?b=c%3Dd%26e"),
        ("http://bücher.example/ä?ö=ü", "http://xn--bcher-kva.example/%C3%A4?%C3%B6=%C3%BC"),
        ("http://①②⑦.⓪.⓪.①/", "http://127.0.0.1/"),
        ("http://[2606:4700::1]:80/", "http://[2606:4700::1]/"),
        ("http://under_score.example./", "http://under_score.example./"),
        ("http://h/a%2Fb%20c+d", "http://h/a%2Fb%20c+d"),
    ],
)
def test_the_host_of_an_acceptable_url_is_canonical_and_the_rest_as_written(text: str, asked: str) -> None:
    assert str(parse_url(text)) == asked


HOSTS = st.one_of(
    st.text("ah.:/@[]\\%?#0127 \t①é-_", max_size=12),
    st.from_regex(r"[a-z]{1,3}(:[0-9]{0,6})?", fullmatch=True),
    st.from_regex(r"\[[0-9a-f:.①%v]{0,9}\](:8)?", fullmatch=True),
)


@given(HOSTS, st.text("/?#@:\\.a[]%", max_size=12))
@example("[①::]", "")
@example("[①:8]", "")
def test_the_host_is_the_one_that_another_parser_finds(host: str, rest: str) -> None:
    text = f"http://{host}{rest}"
    try:
        url = parse_url(text)
    except BadUrl:
        return
    whole = URL(text)
    assert (url.raw_host, url.port, url.raw_user) == (whole.raw_host, whole.port, None)
    assert display(url).startswith("http://")


# RFC 3986, section 5.4, against the base of its examples.
EXAMPLES = {
    "g": "/b/c/g", "./g": "/b/c/g", "g/": "/b/c/g/", "/g": "/g", "?y": "/b/c/d;p?y", "g?y": "/b/c/g?y",
    "#s": "/b/c/d;p?q", "g#s": "/b/c/g", "g?y#s": "/b/c/g?y", ";x": "/b/c/;x", "g;x": "/b/c/g;x", "": "/b/c/d;p?q",
    ".": "/b/c/", "./": "/b/c/", "..": "/b/", "../": "/b/", "../g": "/b/g", "../..": "/", "../../g": "/g",
    "../../../g": "/g", "/./g": "/g", "/../g": "/g", "g.": "/b/c/g.", "..g": "/b/c/..g", "./../g": "/b/g",
    "./g/.": "/b/c/g/", "g/./h": "/b/c/g/h", "g/../h": "/b/c/h", "g;x=1/../y": "/b/c/y", "g?y/../x": "/b/c/g?y/../x",
    "http:g": "/b/c/g", "?": "/b/c/d;p?",
}  # fmt: skip


@pytest.mark.parametrize(("location", "target"), EXAMPLES.items())
def test_a_location_is_relative_to_the_url_that_sent_it(location: str, target: str) -> None:
    assert str(resolve(location, parse_url("http://a/b/c/d;p?q"))) == f"http://a{target}"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("//other/x", "http://other/x"),
        ("https://other:8443", "https://other:8443/"),
        ("http://other/a/../b//c?", "http://other/a/../b//c?"),
        (" /x y\t", "http://h/x%20y"),
        ("/a\r\n/b", "http://h/a/b"),
        ("/é\udce9\xa0\x01x", "http://h/%C3%A9%E9%C2%A0%01x"),
        ("//bücher.example/é", "http://xn--bcher-kva.example/%C3%A9"),
        ("\\x\\y?\\z#\\", "http://h/x/y?%5Cz"),
        ("\\\\other\\x", "http://other/x"),
        ("///other/x", "http://other/x"),
        ("http:////other/x", "http://other/x"),
        ("HTTPS:/other/x", "https://other/x"),
        ("https:other/x", "https://other/x"),
        ("http:/x", "http://h/x"),
        ("://other/x", "http://h/a/://other/x"),
    ],
)
def test_a_sloppy_location_means_what_it_means_to_browsers(location: str, target: str) -> None:
    assert str(resolve(location, parse_url("http://h/a/b?c"))) == target


@pytest.mark.parametrize(
    "location",
    [
        "ftp://h/", "//user:pw@h/", "http://h /x", "data:,x", "//h\x00/", "//h%2F/", "//\udce9/", "http://",
        "a" * 2049, "example.com:80/x", "//[::1/",
    ],
)  # fmt: skip
def test_a_location_passes_the_same_checks(location: str) -> None:
    with pytest.raises(BadUrl):
        resolve(location, parse_url("http://h/a/b"))


def test_a_displayed_url_is_the_requested_one_without_its_query_and_short() -> None:
    assert display(parse_url("https://h.example:8443/a%3aü?token=secret#f")) == "https://h.example:8443/a%3a%C3%BC"
    assert len(display(parse_url("http://h/" + "a" * 2000))) == 200


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://h/", "http://h?"]))
def test_any_text_is_either_refused_or_displayed_as_printable_ascii(text: str, prefix: str) -> None:
    try:
        url = parse_url(prefix + text)
    except BadUrl:
        return
    assert url.scheme in ("http", "https")
    assert display(url).isascii()
    assert display(url).isprintable()


@given(st.text(max_size=60), st.sampled_from(["", "/", "//", "//h/", "https:", "\\", "?"]))
def test_any_location_is_either_refused_or_a_request_target_in_plain_ascii(text: str, prefix: str) -> None:
    try:
        url = resolve(prefix + text, parse_url("http://h/a/b?c"))
    except BadUrl:
        return
    assert url.scheme in ("http", "https")
    assert url.raw_path_qs.startswith("/")
    assert all("!" <= character <= "~" for character in url.raw_path_qs)
