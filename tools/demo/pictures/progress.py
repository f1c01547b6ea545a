"""Progress of each picture, read from the stream and from the bucket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from demo.display import Bar
from demo.pictures.events import PictureEvent
from keda_jobs.domain.dead_letter import DeadLetter, parse_dead_letter
from keda_jobs.domain.subjects import DEAD_LETTER


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
    def failure(self) -> str | None:
        """Failure in one line, None when the picture came out as it should."""
        name, dead_letter = self.event.name, self.dead_letter
        if not self.event.is_good:
            return f"{name} has no dead letter" if dead_letter is None else None
        if dead_letter is not None:
            return f"{name} became a dead letter ({dead_letter.reason})"
        return f"{name} has no thumbnail" if self.thumbnail is None else None


class Progress:
    """Progress of all pictures."""

    def __init__(self, events: list[PictureEvent], bucket: Path) -> None:
        self.pictures = [Picture(event) for event in events]
        self._by_url = {picture.event.url: picture for picture in self.pictures}
        self.bucket = bucket

    @property
    def is_settled(self) -> bool:
        """True when every picture has its thumbnail or its dead letter."""
        return all(picture.is_settled for picture in self.pictures)

    @property
    def thumbnails(self) -> list[Picture]:
        """Pictures that have a thumbnail."""
        return [picture for picture in self.pictures if picture.thumbnail is not None]

    @property
    def dead_letters(self) -> list[Picture]:
        """Pictures that became a dead letter."""
        return [picture for picture in self.pictures if picture.dead_letter is not None]

    @property
    def bars(self) -> list[Bar]:
        """Counts as bars."""
        events = [picture.event for picture in self.pictures]
        total, good = len(events), sum(event.is_good for event in events)
        published = sum(picture.published_at is not None for picture in self.pictures)
        downloaded = sum(picture.original is not None for picture in self.pictures)
        never_stored = sum(picture.original is None for picture in self.dead_letters)
        return [
            Bar("published", published, total, "cyan"),
            Bar("downloaded", downloaded, total - never_stored, "cyan"),
            Bar("resized", len(self.thumbnails), good, "green"),
            Bar("waiting retries", sum(picture.is_waiting for picture in self.pictures), total, "yellow"),
            Bar("dead letters", len(self.dead_letters), total - good, "red"),
        ]

    def record(self, subject: str, data: bytes, headers: Mapping[str, str], sequence: int, stored_at: datetime) -> None:
        """Record what a message of the events stream says about one of the pictures."""
        body = json.loads(data)
        picture = self._picture(body["data"] if subject == DEAD_LETTER else body)
        if picture is None:
            return
        if subject == DEAD_LETTER:
            picture.dead_letter = parse_dead_letter(sequence, stored_at, data, headers)
            picture.tries = picture.dead_letter.num_delivered
        elif subject == "image-download":
            picture.published_at = stored_at
        elif subject == "image-downloaded":
            picture.original = StoredImage.read(self.bucket, body["key"])
        else:
            picture.is_waiting = False
            picture.tries += 1

    def record_waiting(self, data: bytes) -> None:
        """Record that a retry waits."""
        if picture := self._picture(json.loads(data)):
            picture.is_waiting = True

    def _picture(self, body: Mapping[str, str]) -> Picture | None:
        return self._by_url.get(body["url"])

    def find_thumbnails(self) -> None:
        """Look into the bucket for the thumbnails that are missing."""
        for picture in self.pictures:
            if picture.original is not None and not picture.is_settled:
                for path in self.bucket.glob(f"images_resized/{picture.original.path.stem}.*"):
                    picture.thumbnail = StoredImage.read(self.bucket, f"images_resized/{path.name}", whole=True)

    def failures(self) -> list[str]:
        """List the pictures that did not come out as they should, each with what is wrong."""
        return [failure for picture in self.pictures if (failure := picture.failure)]
