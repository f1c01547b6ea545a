"""Events that the demo publishes: every good picture, and what must become a dead letter instead."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass

from demo.pictures.originals import Original, originals
from demo.pictures.web import Answer, WebServer

RETRY_STEP_S = 1
MAX_DELIVERIES = 4

# Two 503s before the picture, so that the display shows a waiting retry.
_AFTER_RETRIES = "coffee.png"
_CLOUD_METADATA = "http://169.254.169.254/latest/meta-data/"
_BOMB_SIDE = 20_000
_HTML = b"<!doctype html><title>Sign in</title><p>Please sign in to see this picture."


@dataclass(frozen=True, slots=True)
class PictureEvent:
    """One event to publish. A good picture must get a thumbnail, and a free one may appear in the README."""

    name: str
    url: str
    is_good: bool = True
    is_free: bool = True


def serve_events(web: WebServer, forbidden: WebServer) -> list[PictureEvent]:
    """Put the answers into `web` and into `forbidden`, which no job may dial, and return what to publish."""
    pictures = originals()
    good = {original.name: _answer(original) for original in pictures}
    bad = _bad_answers(good["rocket.jpg"].body, forbidden)
    web.answers |= {f"/{name}": answer for name, answer in (good | bad).items()}
    forbidden.answers["/rocket.jpg"] = good["rocket.jpg"]
    return [
        *(PictureEvent(name, web.url(f"/{name}"), is_good=False) for name in bad),
        PictureEvent("metadata-service", _CLOUD_METADATA, is_good=False),
        PictureEvent("private-address", forbidden.url("/rocket.jpg"), is_good=False),
        *(PictureEvent(original.name, web.url(f"/{original.name}"), is_free=original.is_free) for original in pictures),
    ]


def _answer(original: Original) -> Answer:
    return Answer(original.body, refusals=2 if original.name == _AFTER_RETRIES else 0)


def _bad_answers(rocket: bytes, forbidden: WebServer) -> dict[str, Answer]:
    return {
        "always-503.jpg": Answer(refusals=math.inf),
        "missing.jpg": Answer(status=404),
        "sign-in.jpg": Answer(_HTML, headers={"Content-Type": "image/jpeg"}),
        "truncated.jpg": Answer(rocket[: len(rocket) // 3]),
        "bomb.png": Answer(_bomb()),
        "redirect-inside.jpg": Answer(status=302, headers={"Location": forbidden.url("/rocket.jpg")}),
    }


def _bomb() -> bytes:
    """Build a valid PNG of 200 kB that has 400 megapixels."""
    header = struct.pack(">IIBBBBB", _BOMB_SIDE, _BOMB_SIDE, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + _BOMB_SIDE // 8) * _BOMB_SIDE), level=1)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
