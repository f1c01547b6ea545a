"""Pictures of the picture server: as events, and in the store when they are done."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable

from .cluster import TEST, kubectl, pictures_address, stored
from .servers.pictures import picture


def new_numbers(count: int) -> list[int]:
    """Return up to a thousand numbers of pictures that nobody has requested yet."""
    first = time.time_ns() // 1_000_000 * 1000
    return list(range(first, first + count))


def events(numbers: Iterable[int], path: str = "picture", servers: str = TEST) -> list[dict[str, str]]:
    """Build an `image-download` event for each number. With the path `slow/12` each download takes twelve seconds."""
    address = pictures_address(servers)
    return [{"url": f"http://{address}/{path}/{number}.png"} for number in numbers]


def not_done(numbers: Iterable[int], servers: str = TEST) -> list[int]:
    """Return the numbers whose picture or thumbnail is not in the store."""
    done = set(stored("images", servers)) & set(stored("images_resized", servers))
    return [number for number in numbers if f"{hashlib.sha256(picture(number)).hexdigest()}.png" not in done]


def downloads(numbers: Iterable[int]) -> list[int]:
    """Return how often the picture server was asked for each of the numbers."""
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/requests').read().decode())"
    requests = json.loads(kubectl("exec", "-n", TEST, "deployment/pictures", "--", "python", "-c", script))
    by_file: Counter[str] = Counter()
    for path, count in requests.items():
        by_file[path.rpartition("/")[2]] += count
    return [by_file[f"{number}.png"] for number in numbers]
