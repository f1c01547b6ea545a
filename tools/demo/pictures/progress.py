"""Progress of each picture, read from the stream and from the bucket."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from demo.display import Bar
from demo.pictures.events import PictureEvent
from keda_jobs.domain.dead_letter import DeadLetter, parse_dead_letter
from keda_jobs.domain.subjects import DEAD_LETTER, RETRY_WAIT


@dataclass(frozen=True, slots=True)
class StoredImage:
    """Image in the bucket, with width and height in pixels."""

    path: Path
    key: str
    format: str
    size: tuple[int, int]
    bytes: int
    stored_at: datetime

    @classmethod
    def read(cls, bucket: Path, key: str, *, whole: bool = False) -> StoredImage | None:
        """Return the image at `key`. With `whole`, return None while the server is still writing it."""
        path = bucket / key
        try:
            with Image.open(path) as image:
                if whole:
                    image.load()
                status = path.stat()
                stored_at = datetime.fromtimestamp(status.st_mtime, UTC)
                return cls(path, key, image.format or "", image.size, status.st_size, stored_at)
        except (OSError, SyntaxError):
            return None

    def __str__(self) -> str:
        return f"{self.size[0]}×{self.size[1]} {self.format}"


@dataclass(slots=True)
class Picture:
    """One picture between its event and its thumbnail or dead letter."""

    event: PictureEvent
    published_at: datetime | None = None
    original: StoredImage | None = None
    thumbnail: StoredImage | None = None
    dead_letter: DeadLetter | None = None
    tries: int = 1
    is_waiting: bool = False

    @property
    def is_settled(self) -> bool:
        """True when nothing more will happen."""
        return self.thumbnail is not None or self.dead_letter is not None

    @property
    def seconds(self) -> float:
        """Seconds from the event's publication to the stored thumbnail, 0 without one."""
        if self.thumbnail is None or self.published_at is None:
            return 0.0
        return max(0.0, (self.thumbnail.stored_at - self.published_at).total_seconds())

    @property
    def reason(self) -> str:
        """Reason of the dead letter without the error class."""
        dead_letter = self.dead_letter
        return dead_letter.reason.removeprefix(f"{dead_letter.error_class}: ") if dead_letter is not None else ""


class Progress:
    """Progress of all pictures."""

    def __init__(self, events: list[PictureEvent], bucket: Path) -> None:
        self.pictures = [Picture(event) for event in events]
        self._by_url = {picture.event.url: picture for picture in self.pictures}
        self._bucket = bucket

    @property
    def is_settled(self) -> bool:
        """True when every picture has its thumbnail or its dead letter."""
        return all(picture.is_settled for picture in self.pictures)

    @property
    def line(self) -> str:
        """Counts in one line."""
        published, downloaded, resized, waiting, dead = (bar.count for bar in self.bars)
        return (
            f"published {published}, downloaded {downloaded}, resized {resized}, waiting retries {waiting}, dead {dead}"
        )

    @property
    def bars(self) -> Sequence[Bar]:
        """Counts as bars."""
        pictures = self.pictures
        total, good = len(pictures), sum(picture.event.is_good for picture in pictures)
        dead = [picture for picture in pictures if picture.dead_letter is not None]
        never_stored = sum(picture.original is None for picture in dead)
        return (
            Bar("published", sum(picture.published_at is not None for picture in pictures), total, "cyan"),
            Bar("downloaded", sum(picture.original is not None for picture in pictures), total - never_stored, "cyan"),
            Bar("resized", sum(picture.thumbnail is not None for picture in pictures), good, "green"),
            Bar("waiting retries", sum(picture.is_waiting for picture in pictures), total, "yellow"),
            Bar("dead letters", len(dead), total - good, "red"),
        )

    def record(self, subject: str, data: bytes, headers: Mapping[str, str], sequence: int, stored_at: datetime) -> None:
        """Record what a message of the stream says about one of the pictures."""
        body = json.loads(data)
        picture = self._by_url.get((body["data"] if subject == DEAD_LETTER else body)["url"])
        if picture is None:
            return
        if subject == DEAD_LETTER:
            picture.dead_letter = parse_dead_letter(sequence, stored_at, data, headers)
            picture.tries = picture.dead_letter.num_delivered
        elif subject == "image-download":
            picture.published_at = stored_at
        elif subject == "image-downloaded":
            picture.original = StoredImage.read(self._bucket, body["key"])
        elif subject.startswith(f"{RETRY_WAIT}."):
            picture.is_waiting = True
        else:
            picture.is_waiting = False
            picture.tries += 1

    def find_thumbnails(self) -> None:
        """Look into the bucket for the thumbnails that are missing."""
        for picture in self.pictures:
            if picture.original is not None and not picture.is_settled:
                for path in self._bucket.glob(f"images_resized/{picture.original.path.stem}.*"):
                    picture.thumbnail = StoredImage.read(self._bucket, f"images_resized/{path.name}", whole=True)


def failures(pictures: Sequence[Picture]) -> list[str]:
    """Say of each picture that did not come out as it should what is wrong with it."""
    lines = []
    for picture in pictures:
        name, dead_letter = picture.event.name, picture.dead_letter
        if picture.event.is_good and dead_letter is not None:
            lines.append(f"{name} became a dead letter ({dead_letter.error_class}: {picture.reason})")
        elif picture.event.is_good and picture.thumbnail is None:
            lines.append(f"{name} has no thumbnail")
        elif not picture.event.is_good and dead_letter is None:
            lines.append(f"{name} has no dead letter")
    return lines
