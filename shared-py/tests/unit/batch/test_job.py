"""Columns of a batch job, read from its handler's signature."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from keda_jobs.batch import BatchContext, BatchSettings, batch_job


class Order(NamedTuple):
    goods: str
    weight: int


class Parcel(NamedTuple):
    size: int


async def pack(_order: Order, _job: BatchContext) -> Parcel:
    return Parcel(1)


async def look(_order: Order, _job: BatchContext) -> None:
    return None


def test_the_fields_of_the_two_tuples_are_the_columns() -> None:
    job = batch_job(pack, BatchSettings, table="orders", key="number")
    assert (job.table.name, job.table.key) == ("orders", "number")
    assert (job.table.reads, job.table.writes) == (("goods", "weight"), ("size",))
    assert (job.row, job.result) == (Order, Parcel)


def test_a_handler_that_returns_nothing_writes_no_column() -> None:
    job = batch_job(look, BatchSettings, table="orders")
    assert (job.table.writes, job.result) == ((), None)


def test_the_job_is_named_after_the_package_of_its_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    import keda_jobs.errors

    monkeypatch.setattr(pack, "__module__", keda_jobs.errors.__name__)
    assert batch_job(pack, BatchSettings, table="orders").name == "keda-jobs"


async def of_a_dict(_order: dict[str, Any], _job: BatchContext) -> None: ...


async def of_anything(_order, _job) -> None: ...  # type: ignore[no-untyped-def]


async def of_nothing() -> None: ...


async def to_a_dict(_order: Order, _job: BatchContext) -> dict[str, Any]:
    return {}


async def to_anything(_order: Order, _job: BatchContext): ...  # type: ignore[no-untyped-def]


def at_once(_order: Order, _job: BatchContext) -> Parcel:
    return Parcel(1)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (of_a_dict, "first parameter of of_a_dict"),
        (of_anything, "first parameter of of_anything"),
        (of_nothing, "first parameter of of_nothing"),
        (to_a_dict, "to_a_dict must be annotated to return"),
        (to_anything, "to_anything must be annotated to return"),
        (at_once, "at_once must be an async function"),
    ],
)
def test_a_signature_without_columns_is_refused(handler: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        batch_job(handler, BatchSettings, table="orders")


class Status(NamedTuple):
    batch_status: str


async def cheat(_order: Order, _job: BatchContext) -> Status:
    return Status("completed")


def test_a_handler_cannot_write_the_queues_own_columns() -> None:
    with pytest.raises(ValueError, match="batch_status"):
        batch_job(cheat, BatchSettings, table="orders")


@asynccontextmanager
async def scales(_settings: BatchSettings) -> AsyncIterator[int]:
    yield 1


async def weigh(_order: Order, job: BatchContext[BatchSettings, int]) -> Parcel:
    return Parcel(job.resources)


def test_resources_are_part_of_the_job() -> None:
    assert batch_job(weigh, BatchSettings, table="orders", resources=scales).resources is scales
