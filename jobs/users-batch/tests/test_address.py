"""Normal form of e-mail addresses, and the errors for invalid ones."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from users_batch.address import normal_address
from users_batch.errors import InvalidUser

LABEL = "d" * 63


@pytest.mark.parametrize(
    ("entered", "address", "domain"),
    [
        ("ada@example.com", "ada@example.com", "example.com"),
        ("Ada.Lovelace@Example.COM", "ada.lovelace@example.com", "example.com"),
        (" \tada@example.com\n\u00a0", "ada@example.com", "example.com"),
        ("a!#$%&'*+/=?^_`{|}~-z@x-1.example", "a!#$%&'*+/=?^_`{|}~-z@x-1.example", "x-1.example"),
        (f"{'a' * 64}@example.com", f"{'a' * 64}@example.com", "example.com"),
        (f"a@{LABEL}.example", f"a@{LABEL}.example", f"{LABEL}.example"),
        ("a@1.2.3.example", "a@1.2.3.example", "1.2.3.example"),
        ("Ada@BÜCHER.example", "ada@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("ada@例え.テスト", "ada@xn--r8jz45g.xn--zckzah", "xn--r8jz45g.xn--zckzah"),
        ("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_the_normal_form(entered: str, address: str, domain: str) -> None:
    assert normal_address(entered)[:2] == (address, domain)


@pytest.mark.parametrize(
    ("entered", "country"),
    [
        ("a@x.de", "DE"),
        ("a@x.co.uk", "GB"),
        ("a@x.gb", "GB"),
        ("a@bücher.de", "DE"),
        ("a@x.com", None),
        ("a@x.museum", None),
        ("a@x.eu", None),
        ("a@x.su", None),
        ("a@de.com", None),
        *((f"a@x.{sold}", None) for sold in ("io", "co", "me", "tv", "ai", "cc", "fm")),
    ],
)
def test_the_country_comes_from_the_top_level_domain_of_a_country(entered: str, country: str | None) -> None:
    assert normal_address(entered)[2] == country


def refusal(entered: str | None) -> str | None:
    try:
        normal_address(entered)
    except InvalidUser as refused:
        return str(refused)
    return None


FAULTS: list[tuple[str, str | None]] = [
    ("missing", None),
    ("missing", ""),
    ("missing", " \t\u00a0"),
    ("whitespace inside", "ada lovelace@example.com"),
    ("whitespace inside", "ada@exam\nple.com"),
    ("whitespace inside", "ada@b\u2003ücher.example"),
    ("no @", "example.com"),
    ("no @", "jürgen"),
    ("more than one @", "ada@home@example.com"),
    ("nothing before the @", "@example.com"),
    ("over 64 characters before the @", f"{'a' * 65}@example.com"),
    ("leading, trailing or double dot before the @", ".ada@example.com"),
    ("leading, trailing or double dot before the @", "ada.@example.com"),
    ("leading, trailing or double dot before the @", "a..da@example.com"),
    ("illegal character before the @", "a,da@example.com"),
    ("illegal character before the @", '"ada"@example.com'),
    ("illegal character before the @", "a\x00da@example.com"),
    ("illegal character before the @", "jürgen@example.com"),
    # The Kelvin sign, whose lower case is a k.
    ("illegal character before the @", "\u212a@example.com"),
    ("nothing after the @", "ada@"),
    ("over 255 characters after the @", f"ada@{'d.' * 127}com"),
    ("over 255 characters after the @", f"ada@{'ü.' * 127}com"),
    ("leading, trailing or double dot after the @", "ada@.example.com"),
    ("leading, trailing or double dot after the @", "ada@example.com."),
    ("leading, trailing or double dot after the @", "ada@example..com"),
    ("leading, trailing or double dot after the @", "ada@."),
    ("no dot after the @", "ada@localhost"),
    ("over 63 characters between two dots", f"ada@{LABEL}d.example"),
    ("leading or trailing hyphen between two dots", "ada@-example.com"),
    ("leading or trailing hyphen between two dots", "ada@example-.com"),
    ("illegal character after the @", "ada@exa_mple.com"),
    ("illegal character after the @", "ada@[192.0.2.1]"),
    ("illegal character after the @", "ada@straße.de"),
    ("a number as the top-level domain", "ada@192.0.2.1"),
    ("over 254 characters", f"{'a' * 60}@{LABEL}.{LABEL}.{LABEL}.com"),
]


@pytest.mark.parametrize(("fault", "entered"), FAULTS)
def test_an_invalid_address_is_refused_with_the_reason(fault: str, entered: str | None) -> None:
    assert refusal(entered) == f"email: {fault}"


ADDRESS_LIKE = st.text(alphabet=st.sampled_from("aZ9@@..-_+ ßüΣ\u212a\u200d。\uff20\t")) | st.builds(
    "{}@{}".format,
    st.text(string.ascii_letters + "0.+'", min_size=1),
    st.lists(st.text("azAZ09-ü例", min_size=1), min_size=2).map(".".join),
)


@given(st.none() | st.text() | ADDRESS_LIKE | st.emails())
def test_any_text_has_a_stable_normal_form_or_is_refused(entered: str | None) -> None:
    try:
        address, domain, country = normal_address(entered)
    except InvalidUser:
        return
    assert normal_address(address) == (address, domain, country)
    assert address.isascii()
    assert address == "".join(address.split()).lower()
    assert len(address) <= 254
    assert address.count("@") == 1
    assert address.endswith(f"@{domain}")
    assert "." in domain


@given(ADDRESS_LIKE)
def test_a_refusal_reveals_nothing_that_was_entered(entered: str) -> None:
    assert refusal(entered) in {None, *(f"email: {fault}" for fault, _ in FAULTS)}
