"""Normal form of names, and the errors for invalid ones."""

from __future__ import annotations

import operator
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from users_batch.errors import InvalidUser
from users_batch.name import normal_name


@pytest.mark.parametrize(
    ("entered", "name"),
    [
        ("Ada Lovelace", "Ada Lovelace"),
        ("  Ada \t King\u00a0\u2003Lovelace\r\n", "Ada King Lovelace"),
        ("Rene\u0301e", "Renée"),
        ("李 小龍", "李 小龍"),
        # Alireza, as written in Persian.
        ("\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627"),
        ("x" * 199 + "Y", "x" * 199 + "Y"),
    ],
)
def test_the_normal_form(entered: str, name: str) -> None:
    assert normal_name(entered) == name


@pytest.mark.parametrize("name", ["Ronald McDonald", "Vincent van Gogh", "Conan O'Brien", "Ada LOVELACE"])
def test_mixed_case_is_kept(name: str) -> None:
    assert normal_name(name) == name


@pytest.mark.parametrize(
    ("entered", "name"),
    [
        ("ada lovelace", "Ada Lovelace"),
        ("ADA LOVELACE", "Ada Lovelace"),
        ("jean-luc o'neil", "Jean-Luc O'Neil"),
        ("ÉMILE ZOLA", "Émile Zola"),
        ("j.r.r. tolkien", "J.R.R. Tolkien"),
        # This o has no single-character form.
        ("adébo\u0323\u0300wálé", "Adéb\u1ecd\u0300wálé"),
        ("γιώργος σεφέρης", "Γιώργος Σεφέρης"),
    ],
)
def test_words_of_one_case_begin_with_a_capital(entered: str, name: str) -> None:
    assert normal_name(entered) == name


def refusal(entered: str | None) -> str | None:
    try:
        normal_name(entered)
    except InvalidUser as refused:
        return str(refused)
    return None


FAULTS: list[tuple[str, str | None]] = [
    ("missing", None),
    ("missing", ""),
    ("missing", " \t\n\u3000"),
    ("missing", "\u200d \u200c"),
    ("over 200 characters", "Ab" * 100 + "c"),
    ("over 200 characters", "e\u0301" * 101),
    # A letter whose capital is two letters.
    ("over 200 characters", "ŉ" + "b" * 199),
    ("control character", "Ada\x00"),
    ("control character", "Ada\x1b[31m"),
    ("control character", "Ada\u202eecalevoL"),
    ("control character", "Ada \ud800"),
]


@pytest.mark.parametrize(("fault", "entered"), FAULTS)
def test_an_invalid_name_is_refused_with_the_reason(fault: str, entered: str | None) -> None:
    assert refusal(entered) == f"name: {fault}"


LETTERS = st.text("aB ŉßİΣςΐǰﬁ\u0131\u0345\u0301\u030c\u1160ᾳ'-\t\x00\u200d")
NAMES = st.text() | st.builds(operator.mul, LETTERS, st.integers(1, 100))


@given(st.none() | NAMES)
def test_any_text_has_a_stable_normal_form_or_is_refused(entered: str | None) -> None:
    try:
        name = normal_name(entered)
    except InvalidUser:
        return
    assert normal_name(name) == name
    assert name == " ".join(name.split())
    assert unicodedata.is_normalized("NFC", name)
    assert 0 < len(name) <= 200


@given(NAMES)
def test_a_refusal_reveals_nothing_that_was_entered(entered: str) -> None:
    assert refusal(entered) in {None, *(f"name: {fault}" for fault, _ in FAULTS)}
