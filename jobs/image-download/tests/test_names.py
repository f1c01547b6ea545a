"""Lookups of host names without an answer: they delay nothing else. The system's resolver is replaced, not asked."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from origin_server import PNG, Origin, answer, fetching

from image_download.errors import NetworkTrouble
from image_download.names import Resolver

# More than asyncio's own threads on any machine.
MANY = 40


class Lookups:
    """Fake of the system's resolver. Names that begin with "slow" have no answer until `release`."""

    def __init__(self) -> None:
        self.stuck = threading.Semaphore(0)
        self._released = threading.Event()
        self.release = self._released.set

    def getaddrinfo(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        """Answer for `host` as `socket.getaddrinfo` does."""
        if host.startswith("slow"):
            self.stuck.release()
            self._released.wait()
        if host.startswith("unknown"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        v6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
        return [v6, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lookups]:
    """Replace the system's resolver, and answer everything at the end."""
    fake = Lookups()
    monkeypatch.setattr(socket, "getaddrinfo", fake.getaddrinfo)
    yield fake
    fake.release()


async def test_names_without_an_answer_delay_neither_other_downloads_nor_other_threads(
    lookups: Lookups,
) -> None:
    async with (
        Origin(image=answer(PNG)) as origin,
        fetching(origin, concurrency=MANY + 1, download_timeout_s=30) as fetcher,
    ):
        slow = [asyncio.create_task(fetcher.fetch(origin.url(host=f"slow{number}.test"))) for number in range(MANY)]
        try:
            assert await fetcher.fetch(origin.url(host="quick.test")) == PNG
            assert await asyncio.wait_for(asyncio.to_thread(int), 30) == 0
            assert not any(task.done() for task in slow)
        finally:
            lookups.release()
        assert await asyncio.gather(*slow) == [PNG] * MANY


async def test_a_name_without_an_answer_ends_with_the_time_limit(lookups: Lookups) -> None:
    async with fetching(download_timeout_s=0.2) as fetcher:
        with pytest.raises(NetworkTrouble, match=r"not complete after 0\.2 s"):
            await fetcher.fetch("http://slow.test/")
    lookups.release()


async def test_an_unknown_name_gets_a_few_attempts(lookups: Lookups) -> None:
    async with fetching() as fetcher:
        with pytest.raises(NetworkTrouble, match="the host is unknown") as failed:
            await fetcher.fetch("http://unknown.test/")
    assert failed.value.max_deliveries == 3


async def test_the_threads_of_lookups_are_limited_and_come_back(lookups: Lookups) -> None:
    resolver = Resolver(concurrency=1)
    stuck = [asyncio.create_task(resolver.resolve(f"slow{number}.test")) for number in range(8)]
    for _ in stuck:
        assert await asyncio.to_thread(lookups.stuck.acquire, timeout=60)
    with pytest.raises(OSError, match="too many lookups of host names have no answer yet"):
        await resolver.resolve("quick.test")
    stuck.pop().cancel()
    lookups.release()
    for found in await asyncio.gather(*stuck):
        assert [address["host"] for address in found] == ["::1", "127.0.0.1"]
    for thread in threading.enumerate():
        if thread.name == "lookup":
            thread.join()
    assert await resolver.resolve("quick.test")


def test_a_name_without_an_answer_does_not_delay_the_end_of_the_process() -> None:
    code = """
import asyncio, socket, threading
from image_download.names import Resolver

socket.getaddrinfo = lambda *_, **__: threading.Event().wait()

async def main():
    try:
        await asyncio.wait_for(Resolver(1).resolve("slow.test"), 0.1)
    except TimeoutError:
        print("gave up")

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("gave up\n", "")
