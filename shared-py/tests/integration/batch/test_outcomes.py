"""Outcomes of rows, by the behaviour of their handler."""

from __future__ import annotations

import pytest

from stack import until

from .parcels import Parcels
from .workers import Control, Start


async def test_a_result_is_written(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=1)
    assert await start().finish() == 0
    row = await parcels.only("fine")
    assert (row["batch_status"], row["label"], row["size"]) == ("completed", f"parcel {row['id']}", 1)
    assert (row["attempts"], row["error"]) == (1, None)


async def test_a_permanent_error_fails_a_row_permanently_at_once(parcels: Parcels, start: Start) -> None:
    await parcels.insert(is_refused=1)
    assert await start().finish() == 0
    row = await parcels.only("is refused")
    assert (row["batch_status"], row["attempts"], row["is_final"]) == ("failed", 1, True)
    assert row["error"] == "Permanent: no such street"
    batch = await parcels.batch()
    assert (batch["completed"], batch["failed"], batch["given_up"]) == (0, 1, 1)


async def test_any_other_error_is_retried_with_growing_waits_up_to_the_limit(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fails=1)
    waits_s = []
    for attempt in (1, 2, 3):
        assert await start(RETRY_STEP_S="100s", MAX_ATTEMPTS="3").finish() == 0
        row = await parcels.only("fails")
        assert (row["batch_status"], row["attempts"]) == ("failed", attempt)
        assert row["error"] == "Transient: the scales are broken"
        assert await parcels.claimable() == 0
        waits_s.append(row["wait_s"])
        await parcels.make_due()
        assert await parcels.claimable() == (1 if attempt < 3 else 0)
    # The time between the write and this read is missing.
    assert 100 >= waits_s[0] > 60
    assert 200 >= waits_s[1] > 160
    assert (await parcels.only("fails"))["is_final"]


async def test_with_one_attempt_the_first_failure_is_permanent(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fails=1)
    assert await start(MAX_ATTEMPTS="1").finish() == 0
    assert (await parcels.only("fails"))["is_final"]


async def test_a_due_retry_is_claimed(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fails_once=1, fine=1)
    while (await parcels.only("fails once"))["batch_status"] != "completed":
        assert await start(RETRY_STEP_S="0.01").finish() == 0
    row = await parcels.only("fails once")
    assert (row["attempts"], row["error"]) == (2, None)


async def test_a_row_waits_as_long_as_retry_after_asks(parcels: Parcels, start: Start) -> None:
    await parcels.insert(is_told_to_rest=1)
    assert await start(RETRY_STEP_S="10").finish() == 0
    assert 500 >= (await parcels.only("is told to rest"))["wait_s"] > 450


async def test_an_error_may_lower_the_limit(parcels: Parcels, start: Start) -> None:
    await parcels.insert(has_two_tries=1)
    assert await start(MAX_ATTEMPTS="5").finish() == 0
    assert not (await parcels.only("has two tries"))["is_final"]
    await parcels.make_due()
    assert await start(MAX_ATTEMPTS="5").finish() == 0
    row = await parcels.only("has two tries")
    assert (row["attempts"], row["is_final"]) == (2, True)


async def test_rows_stay_claimed_and_no_attempt_counts_while_the_platform_is_unavailable(
    parcels: Parcels, start: Start, control: Control
) -> None:
    await parcels.insert(needs_the_store=5)
    worker = start(LEASE_S="4")
    await until(lambda: len(worker.messages("WARNING")) >= 3)
    heartbeat = (await parcels.batch())["heartbeat_at"]

    async def a_heartbeat_later() -> bool:
        return bool((await parcels.batch())["heartbeat_at"] > heartbeat)

    await until(a_heartbeat_later)
    assert await parcels.statuses() == {"processing": 5}
    control.open_gate()
    assert await worker.finish() == 0
    assert (await parcels.all("SELECT DISTINCT batch_status, attempts, error FROM parcels")) == [
        {"batch_status": "completed", "attempts": 1, "error": None}
    ]
    assert all("(attempt not counted): the store is away" in said for said in worker.messages("WARNING"))
    assert any("resuming" in said for said in worker.messages("INFO"))
    assert len(await parcels.batches()) == 1


POISON = {
    "has a bug": "AttributeError: 'Parcel' object has no attribute 'weight'",
    "returns something else": "TypeError: the handler returned Parcel, not Sticker",
    "cancels": "HandlerQuit: the handler raised CancelledError",
    "asks to exit": "HandlerQuit: the handler raised SystemExit: enough",
    "has a NUL": "ValuesRefused: invalid Unicode code point: 0000",
    "is too long": "ValuesRefused: value too long for type character varying(20)",
    "is forbidden": "ValuesRefused: forbidden goods",
    "is alien": "ValuesRefused: alien goods",
    "is too large": "ValuesRefused: ",
    "is no number": "ValuesRefused: ",
}


async def test_each_poisoned_row_fails_alone_with_its_reason(parcels: Parcels, start: Start) -> None:
    for kind in POISON:
        await parcels.insert(**{"fine": 20, kind: 1})
    assert await start().finish() == 0
    assert await parcels.statuses() == {"completed": 20 * len(POISON), "failed": len(POISON)}
    for kind, error in POISON.items():
        row = await parcels.only(kind)
        assert row["error"].startswith(error)
        assert (row["label"], row["attempts"], row["is_final"]) == (None, 1, False)
    assert await parcels.written_twice() == []
    batch = await parcels.batch()
    assert (batch["status"], batch["failed"], batch["given_up"]) == ("completed", len(POISON), 0)


async def test_one_of_several_rows_that_violate_a_unique_constraint_is_written(parcels: Parcels, start: Start) -> None:
    await parcels.insert(fine=10, is_a_twin=3)
    assert await start().finish() == 0
    assert await parcels.statuses() == {"completed": 11, "failed": 2}
    errors = await parcels.all("SELECT error FROM parcels WHERE batch_status = 'failed'")
    assert all("ValuesRefused: duplicate key value" in row["error"] for row in errors)


async def test_a_bug_is_logged_once_with_its_traceback(parcels: Parcels, start: Start) -> None:
    await parcels.insert(has_a_bug=20, fails=20)
    worker = start()
    assert await worker.finish() == 0
    [line] = [line for line in worker.lines if line["level"] == "ERROR"]
    assert "AttributeError" in line["message"]
    assert "parcel.weight" in line["exception"]


@pytest.mark.slow
async def test_a_row_that_kills_its_worker_is_isolated_and_fails_permanently(parcels: Parcels, start: Start) -> None:
    for kind, number in (("fine", 5), ("kills its process", 1), ("fine", 5)):
        await parcels.insert(**{kind: number})
    environment = {"CLAIM_SIZE": "20", "WORKERS": "1", "LEASE_S": "1", "RETRY_STEP_S": "0.1", "MAX_ATTEMPTS": "2"}

    async def is_isolated() -> bool:
        deadly = await parcels.only("kills its process")
        return deadly["is_final"] and await parcels.statuses() == {"completed": 10, "failed": 1}

    deaths = 0
    while not await is_isolated():
        await until(parcels.claimable)
        deaths += await start(**environment).finish() != 0
    row = await parcels.only("kills its process")
    assert row["attempts"] == 2
    assert row["error"].startswith("WorkerDied: ")
    assert deaths <= 4
    assert await parcels.written_twice() == []
    assert {batch["status"] for batch in await parcels.batches()} == {"completed", "abandoned"}
    assert await parcels.claimable() == 0
