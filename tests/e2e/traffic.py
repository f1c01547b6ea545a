"""Pictures of the test cluster's picture server: as events, and as what the store holds when they are done."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

from .cluster import pictures_address, stored
from .servers.pictures import picture


def new_numbers(count: int) -> list[int]:
    """Numbers of pictures that nobody has asked for, up to a thousand."""
    first = time.time_ns() // 1_000_000 * 1000
    return list(range(first, first + count))


def events(numbers: Iterable[int], path: str = "picture") -> list[dict[str, str]]:
    """An `image-download` event for each number; by the path `slow/12` each picture takes twelve seconds."""
    address = pictures_address()
    return [{"url": f"http://{address}/{path}/{number}.png"} for number in numbers]


def not_done(numbers: Iterable[int]) -> list[int]:
    """The numbers whose picture or thumbnail is not in the store."""
    done = set(stored("images")) & set(stored("images_resized"))
    return [number for number in numbers if f"{hashlib.sha256(picture(number)).hexdigest()}.png" not in done]
