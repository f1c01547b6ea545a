"""Tools for testing a handler: without server and loop, with the real decisions."""

from __future__ import annotations

import pytest

from keda_jobs import Context, Event, JobSettings, Later, Permanent, StoreSettings, Transient, later
from keda_jobs.domain.policy import Ack, Dead, Hold, Retry
from keda_jobs.errors import StoreUnavailable
from keda_jobs.testing import InMemoryBucket, run_one


class Order(Event, subject="order"):
    key: str


class Packed(Event, subject="packed"):
    size: int


class Nameless(Event):
    pass


class Settings(JobSettings, StoreSettings):
    most: int = 10


async def pack(event: Order, job: Context[Settings, str]) -> Packed:
    goods = await job.store.get(event.key, max_bytes=job.settings.most)
    size = await job.cpu(len, goods)
    await job.store.put(f"packed/{event.key}", goods, content_type="text/plain")
    return Packed(size=size)


async def test_returned_events_and_stored_objects_are_visible() -> None:
    result = await run_one(pack, {"key": "a"}, store=InMemoryBucket({"a": b"goods"}))
    assert isinstance(result.decision, Ack)
    assert result.events == (Packed(size=5),)
    assert result.store.objects["packed/a"].data == b"goods"
    assert result.store.objects["packed/a"].content_type == "text/plain"


async def unpack_tomorrow(event: Order, _job: Context[Settings, str]) -> list[Packed | Later[Order]]:
    return [Packed(size=1), later(event, 86400)]


async def test_events_for_later_are_as_the_handler_returned_them() -> None:
    result = await run_one(unpack_tomorrow, {"key": "a"})
    assert result.events == (Packed(size=1), later(Order(key="a"), 86400))


async def test_a_missing_object_is_retried_a_few_times() -> None:
    assert isinstance((await run_one(pack, {"key": "a"})).decision, Retry)
    assert isinstance((await run_one(pack, {"key": "a"}, attempt=3)).decision, Dead)


async def test_a_dead_letter_has_a_reason() -> None:
    result = await run_one(pack, {"key": "a"}, store=InMemoryBucket({"a": b"more than ten bytes"}))
    assert result.dead_letter is not None
    assert (result.dead_letter.subject, result.dead_letter.data) == ("order", {"key": "a"})
    assert result.dead_letter.error_class == "ObjectTooLarge"
    assert result.events == ()


async def test_bad_input_never_reaches_the_handler() -> None:
    assert isinstance((await run_one(pack, b"{")).decision, Dead)
    assert isinstance((await run_one(pack, {"key": 1})).decision, Dead)


async def test_settings_come_from_the_test_and_not_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRY_STEP_S", "1")
    assert (await run_one(pack, {"key": "a"})).decision == Retry(2460.0, "ObjectMissing: no object a", "ObjectMissing")


async def test_each_kind_of_error_has_its_decision() -> None:
    raised: list[Exception] = []

    async def fail(_event: Order, _job: Context) -> None:
        raise raised[-1]

    for error, kind in ((Permanent("p"), Dead), (Transient("t"), Retry), (StoreUnavailable("s"), Hold)):
        raised.append(error)
        assert isinstance((await run_one(fail, {"key": "a"})).decision, kind)


async def test_a_job_without_a_store_gets_a_clear_error() -> None:
    async def look(event: Order, job: Context) -> None:
        await job.store.get(event.key)

    decision = (await run_one(look, {"key": "a"})).decision
    assert isinstance(decision, Retry)
    assert "StoreSettings" in decision.reason


async def test_an_event_without_a_subject_is_the_authors_mistake() -> None:
    async def tell(_event: Order, _job: Context) -> Nameless:
        return Nameless()

    with pytest.raises(TypeError, match="must be named in its annotation"):
        await run_one(tell, {"key": "a"})
