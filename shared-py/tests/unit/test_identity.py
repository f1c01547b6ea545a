"""Identities: one text for each, which is one part of a subject."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.domain.identity import Identity
from keda_jobs.domain.subjects import covers, is_literal, waiting_subject

NUMBERS = st.integers(1, 2**63 - 1)
JOBS = st.from_regex(r"[a-z][a-z0-9-]{0,40}", fullmatch=True)
IDENTITIES = st.builds(Identity, JOBS, NUMBERS, NUMBERS)


@given(IDENTITIES, IDENTITIES)
def test_two_identities_never_share_a_text(one: Identity, other: Identity) -> None:
    assert (str(one) == str(other)) == (one == other)
    assert Identity.parse(str(one), one.job) == one


@given(IDENTITIES)
def test_an_identity_is_one_part_of_a_subject(identity: Identity) -> None:
    subject = waiting_subject(identity.job, str(identity))
    assert is_literal(subject)
    assert covers(waiting_subject(identity.job, "*"), subject)


@given(IDENTITIES, JOBS)
def test_a_job_takes_over_no_identity_of_another_one(identity: Identity, other: str) -> None:
    found = Identity.parse(str(identity), other)
    assert found is None or str(found) == str(identity)
    assert found is None or found.job == other


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a-1",
        "a-1-",
        "a-01-2",
        "a-1-02",
        "a-0-1",
        "a-1-0",
        "a-1-2\n",
        "a--1-2",
        "a-1-2-",
        "a-\u0661-2",
        "a-1-" + "9" * 21,
    ],
)
def test_no_other_text_is_an_identity(text: str) -> None:
    assert Identity.parse(text, "a") is None
