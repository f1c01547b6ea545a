"""What the demo publishes: every good picture, and what must become a dead letter instead."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass

from demo.originals import Original, originals
from demo.web import Answer, WebServer

RETRY_STEP_S = 1
MAX_DELIVERIES = 4

# Two 503s before the picture, so that one that is waiting is seen.
_AFTER_RETRIES = "coffee.png"
_CLOUD_METADATA = "http://169.254.169.254/latest/meta-data/"
_BOMB_SIDE = 20_000
_HTML = b"<!doctype html><title>Sign in</title><p>Please sign in to see this picture."


@dataclass(frozen=True, slots=True)
class Item:
    """One event: the picture's name and URL, whether a thumbnail is to come of it, and may be shown in the README."""

    name: str
    url: str
    good: bool = True
    free: bool = True


def programme(web: WebServer, forbidden: WebServer) -> list[Item]:
    """Put the answers into `web` and into `forbidden`, which no job may dial; returns what to publish."""
    pictures = originals()
    bad = _bad(pictures, forbidden)
    good = {original.name: _served(original) for original in pictures}
    web.answers |= {f"/{name}": answer for name, answer in (good | bad).items()}
    forbidden.answers["/rocket.jpg"] = good["rocket.jpg"]
    return [
        *(Item(name, web.url(f"/{name}"), good=False) for name in bad),
        Item("metadata-service", _CLOUD_METADATA, good=False),
        Item("private-address", forbidden.url("/rocket.jpg"), good=False),
        *(Item(original.name, web.url(f"/{original.name}"), free=original.free) for original in pictures),
    ]


def _served(original: Original) -> Answer:
    return Answer(original.body, refusals=2 if original.name == _AFTER_RETRIES else 0)


def _bad(pictures: list[Original], forbidden: WebServer) -> dict[str, Answer]:
    rocket = next(original.body for original in pictures if original.name == "rocket.jpg")
    return {
        "always-503.jpg": Answer(refusals=math.inf),
        "missing.jpg": Answer(status=404),
        "sign-in.jpg": Answer(_HTML, headers={"Content-Type": "image/jpeg"}),
        "truncated.jpg": Answer(rocket[: len(rocket) // 3]),
        "bomb.png": Answer(_bomb()),
        "redirect-inside.jpg": Answer(status=302, headers={"Location": forbidden.url("/rocket.jpg")}),
    }


def _bomb() -> bytes:
    """A valid PNG of 200 kB that has 400 megapixels."""
    header = struct.pack(">IIBBBBB", _BOMB_SIDE, _BOMB_SIDE, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + _BOMB_SIDE // 8) * _BOMB_SIDE), level=1)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
