"""Tools for testing the handler of a batch job: without a database, with the worker's decisions."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import pytest

from keda_jobs import Permanent, Transient
from keda_jobs.batch import BatchContext, BatchSettings
from keda_jobs.claims import Failure
from keda_jobs.errors import DatabaseUnavailable, PlatformError
from keda_jobs.testing import run_row


class Order(NamedTuple):
    goods: str
    weight: int


class Parcel(NamedTuple):
    size: int


class Settings(BatchSettings):
    heaviest: int = 10


async def pack(order: Order, job: BatchContext[Settings, str]) -> Parcel:
    if order.weight > job.settings.heaviest:
        raise Permanent("too heavy")
    return Parcel(await job.cpu(len, order.goods + (job.resources or "")))


async def look(order: Order, _job: BatchContext) -> None:
    if order.weight < 0:
        raise Transient("not on the shelf yet")


async def test_returned_columns_are_visible() -> None:
    result = await run_row(pack, {"goods": "tea", "weight": 3})
    assert (result.written, result.failure) == (Parcel(3), None)


async def test_a_handler_that_writes_nothing_writes_nothing() -> None:
    result = await run_row(look, {"goods": "tea", "weight": 3})
    assert (result.written, result.failure) == (None, None)


async def test_a_permanent_error_fails_the_row_permanently() -> None:
    result = await run_row(pack, {"goods": "tea", "weight": 11})
    assert (result.written, result.failure) == (None, Failure(1, "Permanent: too heavy", None))


async def test_any_other_error_is_retried_up_to_the_limit() -> None:
    failures = [
        (await run_row(look, {"goods": "tea", "weight": -1}, attempts=attempts)).failure for attempts in range(3)
    ]
    assert [failure and failure.delay_s for failure in failures] == [60.0, 120.0, None]


async def test_a_result_of_the_wrong_type_fails_the_row() -> None:
    async def mispack(_order: Order, _job: BatchContext) -> Parcel:
        return Order("tea", 3)  # type: ignore[return-value]

    failure = (await run_row(mispack, {"goods": "tea", "weight": 3})).failure
    assert failure is not None
    assert failure.error == "TypeError: the handler returned Order, not Parcel"


async def test_settings_and_resources_come_from_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEAVIEST", "1")
    settings = Settings.model_validate({"pg_dsn": "postgresql://localhost/test", "heaviest": 2})
    assert (await run_row(pack, {"goods": "tea", "weight": 3})).failure is None
    assert (await run_row(pack, {"goods": "tea", "weight": 3}, settings=settings)).failure is not None
    assert (await run_row(pack, {"goods": "tea", "weight": 3}, resources="pot")).written == Parcel(6)


async def test_a_platform_failure_fails_the_test_without_waiting() -> None:
    async def fetch(_order: Order, _job: BatchContext) -> None:
        raise DatabaseUnavailable("gone")

    with pytest.raises(PlatformError, match="a worker would wait") as raised:
        await run_row(fetch, {"goods": "tea", "weight": 3})
    assert isinstance(raised.value.__context__, DatabaseUnavailable)


async def test_columns_that_the_handler_does_not_read_are_the_authors_mistake() -> None:
    with pytest.raises(TypeError, match="colour"):
        await run_row(look, {"goods": "tea", "weight": 3, "colour": "green"})


def test_the_tests_of_an_event_job_need_no_postgresql_driver() -> None:
    program = "import sys, keda_jobs.testing; sys.exit('asyncpg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
