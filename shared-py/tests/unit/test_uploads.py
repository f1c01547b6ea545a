"""Concurrent puts: never two of one key at once, and every put that returned is in the bucket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.errors import Transient
from keda_jobs.storage.uploads import Uploads


@dataclass(frozen=True)
class Put:
    key: str
    data: bytes
    steps: int
    fails: bool
    cancelled_after: int | None


PUTS = st.builds(
    Put,
    key=st.sampled_from(["a", "b"]),
    data=st.sampled_from([b"1", b"2"]),
    steps=st.integers(0, 3),
    fails=st.booleans(),
    cancelled_after=st.none() | st.integers(0, 4),
)


class Store:
    """Store in memory that fails when two writes of a key overlap."""

    def __init__(self) -> None:
        self.written: list[tuple[str, bytes]] = []
        self._busy: set[str] = set()

    async def write(self, put: Put) -> None:
        assert put.key not in self._busy, "two writes of one key at once"
        self._busy.add(put.key)
        try:
            for _ in range(put.steps):
                await asyncio.sleep(0)
        finally:
            self._busy.discard(put.key)
        if put.fails:
            raise Transient(f"{put.key} failed")
        self.written.append((put.key, put.data))


@given(st.lists(PUTS, max_size=8))
def test_puts_in_any_order_with_failures_and_cancellations(puts: list[Put]) -> None:
    asyncio.run(run(puts))


async def run(puts: list[Put]) -> None:
    uploads, store = Uploads(), Store()

    async def one(put: Put) -> None:
        await uploads.run(put.key, put.data, "image/png", lambda: store.write(put))

    tasks = [asyncio.create_task(one(put)) for put in puts]
    for turn in range(8):
        for put, task in zip(puts, tasks, strict=True):
            if put.cancelled_after == turn:
                task.cancel()
        await asyncio.sleep(0)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    for put, result in zip(puts, ended, strict=True):
        if result is None:
            assert (put.key, put.data) in store.written
        elif isinstance(result, Transient):
            assert any(each.fails and (each.key, each.data) == (put.key, put.data) for each in puts)
        else:
            assert isinstance(result, asyncio.CancelledError), result
            assert put.cancelled_after is not None
    assert uploads._running == {}
