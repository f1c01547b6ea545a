"""Errors survive the way back from a worker process, and each has a text."""

import pickle

import pytest
from asyncpg import InternalClientError, RaiseError

from keda_jobs.errors import (
    DatabaseUnavailable,
    JobError,
    Permanent,
    PlatformError,
    RetryAfter,
    StoreUnavailable,
    Transient,
)
from keda_jobs.postgres import translate_all_errors, translate_errors
from keda_jobs.storage import ObjectMissing


@pytest.mark.parametrize(
    "error",
    [
        Permanent("no"),
        Transient("later", max_deliveries=3),
        RetryAfter("busy", delay_s=2.5),
        StoreUnavailable("away"),
        PlatformError("quota used up", delay_s=30),
        ObjectMissing("images/1.jpg"),
    ],
)
def test_an_error_survives_pickling(error: JobError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_error_without_a_text_uses_the_docstring_of_its_class() -> None:
    assert str(StoreUnavailable()) == "The object store is unreachable or refuses the credentials."


def test_a_command_reports_any_error_of_postgresql_in_one_line() -> None:
    with pytest.raises(JobError, match=r"^PostgreSQL: the trigger says no$"), translate_all_errors():
        raise RaiseError("the trigger says no\n")


def test_a_statement_on_a_connection_that_is_being_closed_is_tried_again() -> None:
    with pytest.raises(DatabaseUnavailable, match="another operation"), translate_errors():
        raise InternalClientError("cannot switch to state 15; another operation (2) is in progress")
