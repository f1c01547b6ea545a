"""Rows that the job normalizes or refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.testing import run_row
from users_batch.handler import Profile, normalize

ROW = {"name": "ada  lovelace", "email": "Ada@Example.de"}


async def test_a_user_is_normalized() -> None:
    result = await run_row(normalize, ROW)
    assert result.written == Profile("Ada Lovelace", "ada@example.de", "example.de", "DE")
    assert result.failure is None


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"name": None}, "InvalidUser: name: missing"),
        ({"email": "ada"}, "InvalidUser: email: no @"),
        ({"name": "", "email": None}, "InvalidUser: name: missing"),
    ],
)
async def test_an_invalid_user_fails_permanently_and_the_error_names_the_field(
    wrong: dict[str, str | None], error: str
) -> None:
    result = await run_row(normalize, ROW | wrong)
    assert result.written is None
    assert result.failure is not None
    assert (result.failure.error, result.failure.delay_s) == (error, None)


@given(st.fixed_dictionaries({"name": st.none() | st.text(), "email": st.none() | st.text() | st.emails()}))
async def test_any_row_is_written_or_fails_permanently(row: dict[str, str | None]) -> None:
    result = await run_row(normalize, row)
    if result.failure:
        assert result.failure.error.startswith(("InvalidUser: name: ", "InvalidUser: email: "))
        assert result.failure.delay_s is None
    else:
        assert isinstance(result.written, Profile)
