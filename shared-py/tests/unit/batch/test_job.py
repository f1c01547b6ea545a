"""Columns of a batch job, read from its handler's signature."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from keda_jobs import Permanent
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
    assert (job.handler.row, job.handler.returned.columns) == (Order, Parcel)


def test_a_handler_that_returns_nothing_writes_no_column() -> None:
    job = batch_job(look, BatchSettings, table="orders")
    assert (job.table.writes, job.handler.returned.columns) == ((), None)


def test_the_job_is_named_after_the_package_of_its_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    import keda_jobs.errors

    monkeypatch.setattr(pack, "__module__", keda_jobs.errors.__name__)
    assert batch_job(pack, BatchSettings, table="orders").name == "keda-jobs"


async def pack_all(_orders: list[Order], _job: BatchContext) -> list[Parcel | Permanent]:
    return []


async def look_at_all(_orders: Sequence[Order], _job: BatchContext) -> Sequence[None]:
    return []


async def refuse_some(_orders: list[Order], _job: BatchContext) -> list[ValueError | KeyError | None]:
    return []


def test_a_handler_of_a_list_takes_many_rows() -> None:
    job = batch_job(pack_all, BatchSettings, table="orders", chunk=7)
    assert (job.handler.row, job.handler.returned.columns, job.handler.chunk) == (Order, Parcel, 7)
    for handler in (look_at_all, refuse_some):
        job = batch_job(handler, BatchSettings, table="orders")
        assert (job.handler.row, job.handler.returned.columns, job.handler.chunk) == (Order, None, 100)
    assert batch_job(pack, BatchSettings, table="orders").handler.chunk is None


def test_an_empty_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="chunk of 0 rows"):
        batch_job(pack_all, BatchSettings, table="orders", chunk=0)


async def of_many_to_one(_orders: list[Order], _job: BatchContext) -> Parcel:
    return Parcel(1)


async def of_many_to_either(_orders: list[Order], _job: BatchContext) -> list[Parcel | None]:
    return []


async def of_many_to_errors(_orders: list[Order], _job: BatchContext) -> list[ValueError]:
    return []


async def of_dicts(_orders: list[dict[str, Any]], _job: BatchContext) -> list[None]:
    return []


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
        (of_many_to_one, "of_many_to_one must be annotated to return"),
        (of_many_to_either, "of_many_to_either must be annotated to return"),
        (of_many_to_errors, "of_many_to_errors must be annotated to return"),
        (of_dicts, "first parameter of of_dicts"),
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
