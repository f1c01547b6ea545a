"""Hundreds of pictures and some bad URLs, and the account that must balance once everything is settled."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.domain.headers import Header
from keda_jobs.domain.identity import Identity
from keda_jobs.jetstream.reader import StoredMessage

from .origin import Answer, Origin
from .stream_view import StreamView

_HTML = b"<!doctype html><title>Not a picture</title>"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that the origin has."""

    url: str
    data: bytes
    ext: str

    @property
    def key(self) -> str:
        """Where image-download must store it."""
        return f"images/{hashlib.sha256(self.data).hexdigest()}.{self.ext}"

    @property
    def thumbnail_key(self) -> str:
        """Where image-resize must store its thumbnail."""
        return f"images_resized/{hashlib.sha256(self.data).hexdigest()}.{self.ext}"


class Traffic:
    """URLs of distinct pictures, a bad one after every tenth, published as `image-download` events."""

    def __init__(self, origin: Origin, stream: StreamView, bucket: Path) -> None:
        self._origin = origin
        self._stream = stream
        self._bucket = bucket
        self._pictures: list[Picture] = []
        self._bad: list[str] = []

    async def publish(self, pictures: int) -> None:
        """Let the origin serve N pictures, with bad ones between them, and publish an event for each."""
        for number in range(pictures):
            data, ext = _picture(number)
            self._pictures.append(Picture(self._serve(f"/{number}.{ext}", Answer(data)), data, ext))
            if number % 10 == 0:
                bad = Answer(status=404) if number % 20 else Answer(_HTML)
                self._bad.append(self._serve(f"/bad-{number}", bad))
        urls = sorted([picture.url for picture in self._pictures] + self._bad)
        await self._stream.publish("image-download", ({"url": url} for url in urls))

    def originals(self) -> int:
        """Count the originals in the bucket."""
        return sum(1 for _ in (self._bucket / "images").glob("*"))

    async def settled(self) -> bool:
        """Return whether neither job has work or a retry left. image-download feeds the other, so it is asked first."""
        is_worked_off = self._stream.is_worked_off
        return await is_worked_off("image-download") and await is_worked_off("image-resize")

    async def balances(self) -> None:
        """Fail unless each event led to its picture and thumbnail or to its dead letter, once."""
        await self.nothing_is_lost()
        asked, settled = await self._asked(), await self._settled()
        assert not settled - asked, f"settled more than once: {settled - asked}"
        assert self.originals() + len(await self._dead_letters()) == asked.total()

    async def nothing_is_lost(self) -> None:
        """Fail unless each event led to its picture and thumbnail or to its dead letter, at least once."""
        lost = await self._asked() - await self._settled()
        assert not lost, f"lost: {lost}"
        dead_letters = await self._dead_letters()
        _same({json.loads(event.data)["url"] for event in await self._done()}, {one.url for one in self._pictures})
        _same({dead_letter.data["url"] for dead_letter in dead_letters}, set(self._bad))
        _same({dead_letter.error_class for dead_letter in dead_letters}, {"HttpRefused", "NotAnImage"})
        self._bucket_is_right()

    async def _asked(self) -> Counter[int]:
        return Counter(event.sequence for event in await self._stream.stored("image-download"))

    async def _settled(self) -> Counter[int]:
        """Count the outcomes of each event."""
        done = Counter(_original(event.headers["Nats-Msg-Id"].partition(":")[0]) for event in await self._done())
        return done + Counter(_original(dead_letter.headers[Header.ID]) for dead_letter in await self._dead_letters())

    async def _done(self) -> list[StoredMessage]:
        return [event for event in await self._stream.stored("image-downloaded") if _has_its_own_id(event.headers)]

    async def _dead_letters(self) -> list[DeadLetter]:
        return [dead for dead in await self._stream.dead_letters() if _has_its_own_id(dead.headers)]

    def _bucket_is_right(self) -> None:
        keys = {path.relative_to(self._bucket).as_posix() for path in self._bucket.rglob("*") if path.is_file()}
        _same(keys, {key for picture in self._pictures for key in (picture.key, picture.thumbnail_key)})
        for picture in self._pictures:
            assert (self._bucket / picture.key).read_bytes() == picture.data, f"{picture.key} has other bytes"
            with Image.open(self._bucket / picture.thumbnail_key) as thumbnail:
                assert max(thumbnail.size) == 200, f"{picture.thumbnail_key} is {thumbnail.size}"

    def _serve(self, path: str, answer: Answer) -> str:
        self._origin.answers[path] = answer
        return self._origin.url(path)


def _has_its_own_id(headers: Mapping[str, str]) -> bool:
    """Return whether a job stored this first. A server that was killed may forget that it delivered a message.

    The job then takes the id of its own output for somebody else's, and stores the output under a new id too.
    """
    return headers["Nats-Msg-Id"].count(":") == 1


def _original(text: str) -> int:
    identity = Identity.parse(text, "image-download")
    assert identity, text
    return identity.sequence


def _same(found: set[str], expected: set[str]) -> None:
    assert found == expected, f"missing: {expected - found}, unexpected: {found - expected}"


def _picture(number: int) -> tuple[bytes, str]:
    """Draw a picture of a size that no other number has. Return its bytes and extension."""
    kind, ext = ("PNG", "png") if number % 5 == 0 else ("JPEG", "jpg")
    file = BytesIO()
    Image.new("RGB", (240 + number % 50, 160 + number // 50), (number % 256, 80, 160)).save(file, kind)
    return file.getvalue(), ext
