"""What becomes of each picture, read from the stream and from the bucket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from demo.programme import Item
from keda_jobs.domain.dead_letter import DeadLetter, read_letter
from keda_jobs.domain.subjects import DEAD_LETTER, RETRY_WAIT


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture in the bucket; `size` is width and height in pixels."""

    path: Path
    key: str
    format: str
    size: tuple[int, int]
    bytes: int
    stored_at: datetime


@dataclass(slots=True)
class Course:
    """One picture on its way, as far as it is known."""

    item: Item
    published_at: datetime | None = None
    original: Stored | None = None
    thumbnail: Stored | None = None
    letter: DeadLetter | None = None
    tries: int = 1
    waiting: bool = False

    @property
    def settled(self) -> bool:
        """Nothing more will happen."""
        return self.thumbnail is not None or self.letter is not None

    @property
    def seconds(self) -> float:
        """From the event's publication to the thumbnail in the bucket; 0 as long as there is none."""
        if self.thumbnail is None or self.published_at is None:
            return 0.0
        return max(0.0, (self.thumbnail.stored_at - self.published_at).total_seconds())


class Board:
    """The courses of all pictures; `take` is given the stream's messages, `look` looks into the bucket."""

    def __init__(self, items: list[Item], bucket: Path) -> None:
        self.courses = [Course(item) for item in items]
        self._by_url = {course.item.url: course for course in self.courses}
        self._bucket = bucket

    @property
    def settled(self) -> bool:
        """Whether every picture has its thumbnail or its dead letter."""
        return all(course.settled for course in self.courses)

    def take(self, subject: str, data: bytes, headers: Mapping[str, str], sequence: int, stored_at: datetime) -> None:
        """Note what a message of the stream says about a picture of ours."""
        body = json.loads(data)
        course = self._by_url.get((body["data"] if subject == DEAD_LETTER else body)["url"])
        if course is None:
            return
        if subject == DEAD_LETTER:
            course.letter = read_letter(sequence, stored_at, data, headers)
            course.tries = course.letter.num_delivered
        elif subject == "image-download":
            course.published_at = stored_at
        elif subject == "image-downloaded":
            course.original = stored_picture(self._bucket, body["key"])
        elif subject.startswith(f"{RETRY_WAIT}."):
            course.waiting = True
        else:
            course.waiting = False
            course.tries += 1

    def look(self) -> None:
        """Find the thumbnails of the originals that have none yet."""
        for course in self.courses:
            if course.original is not None and not course.settled:
                for path in self._bucket.glob(f"images_resized/{course.original.path.stem}.*"):
                    course.thumbnail = stored_picture(self._bucket, f"images_resized/{path.name}", whole=True)


def stored_picture(bucket: Path, key: str, *, whole: bool = False) -> Stored | None:
    """The picture at `key`; with `whole`, None while the server is still writing it. Reads no pixels otherwise."""
    path = bucket / key
    try:
        with Image.open(path) as image:
            if whole:
                image.load()
            status = path.stat()
            stored_at = datetime.fromtimestamp(status.st_mtime, UTC)
            return Stored(path, key, image.format or "", image.size, status.st_size, stored_at)
    except (OSError, SyntaxError):
        return None
