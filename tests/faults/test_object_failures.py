"""What one object costs: its own message's deliveries. What the store costs: nobody's, and no second download."""

from __future__ import annotations

import hashlib
from collections import Counter
from io import BytesIO

import pytest
from PIL import Image

from stack import until

from .faulty_store import FaultyStore, OneWriteASecond, answering, only, reset, sound
from .origin import Answer, Origin
from .processes import Declare, StartJob, outcomes, reported
from .stream_view import StreamView

pytestmark = pytest.mark.slow


def picture(number: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8), (number, 80, 160)).save(file, "PNG")
    return file.getvalue()


def key_of(data: bytes) -> str:
    return f"images/{hashlib.sha256(data).hexdigest()}.png"


class Downloads:
    """Pictures at the origin, one event for each, and a job that stores them through `faulty_store`."""

    def __init__(self, origin: Origin, stream: StreamView) -> None:
        self._origin = origin
        self._stream = stream

    async def publish(self, pictures: list[bytes]) -> None:
        """Serve the pictures and publish an event for each."""
        paths = [f"/{number}.png" for number in range(len(pictures))]
        self._origin.answers |= {path: Answer(data) for path, data in zip(paths, pictures, strict=True)}
        await self._stream.publish("image-download", ({"url": self._origin.url(path)} for path in paths))

    @property
    def most_for_one(self) -> int:
        """Most downloads of one picture."""
        return max(self._origin.times_asked.values())


@pytest.fixture
async def downloads(declare: Declare, origin: Origin, stream: StreamView) -> Downloads:
    """Declare the stream, and return the pictures to be."""
    await declare()
    return Downloads(origin, stream)


async def test_an_object_that_the_store_refuses_costs_only_its_own_message(
    downloads: Downloads, start: StartJob, faulty_store: FaultyStore
) -> None:
    pictures = [picture(number) for number in range(40)]
    locked = key_of(pictures[7])
    faulty_store.fault = only(answering(403, "AccessDenied"), lambda asked: asked.key == locked)
    await downloads.publish(pictures)
    job = await start("image-download", R2_ENDPOINT_URL=faulty_store.url)
    said = await reported(job, 40)
    assert Counter((line["outcome"], line["attempt"]) for line in said) == {("acked", 1): 39, ("retried", 1): 1}
    [retried] = [line for line in said if line["outcome"] == "retried"]
    assert locked in retried["reason"]
    assert "HTTP 403 AccessDenied" in retried["reason"]
    assert downloads.most_for_one == 1


async def test_many_addresses_of_one_picture_are_downloaded_once_each(
    downloads: Downloads, start: StartJob, faulty_store: FaultyStore
) -> None:
    faulty_store.fault = OneWriteASecond()
    await downloads.publish([picture(0)] * 60 + [picture(number) for number in range(1, 21)])
    job = await start("image-download", R2_ENDPOINT_URL=faulty_store.url)
    said = await reported(job, 80)
    assert Counter((line["outcome"], line["attempt"]) for line in said) == {("acked", 1): 80}
    assert downloads.most_for_one == 1
    assert "backing off" not in job.log.read_text()


async def test_a_picture_in_hand_waits_for_the_store_and_is_not_downloaded_again(
    downloads: Downloads, origin: Origin, start: StartJob, faulty_store: FaultyStore, stream: StreamView
) -> None:
    job = await start("image-download", R2_ENDPOINT_URL=faulty_store.url, HANDLER_TIMEOUT_S="1")
    faulty_store.fault = reset
    await downloads.publish([picture(number) for number in range(8)])
    # Three waits of the backoff are longer than the handler's time limit.
    await until(lambda: job.log.read_text().count("backing off") >= 4)
    assert outcomes(job) == []
    origin.answers.clear()  # one-time addresses
    faulty_store.fault = sound
    said = await reported(job, 8)
    assert Counter((line["outcome"], line["attempt"]) for line in said) == {("acked", 1): 8}
    assert downloads.most_for_one == 1
    assert await stream.count("retry.>") == 0
