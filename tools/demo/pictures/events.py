"""Events that the demo publishes, and the files behind them.

The good pictures are photographs and scans that come with scikit-image, and other formats made from them. The bad ones
must become dead letters.
"""

from __future__ import annotations

import importlib.util
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, ImageChops, ImageCms

from demo.pictures.web import Answer, WebServer
from stack import StackError

# In the public domain or CC0, says scikit-image (docs/demo.md): the README may show them.
_FREE = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "grass.png",
    "gravel.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "microaneurysms.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
NOT_FREE = ("coins.png", "ihc.png", "moon.png", "motorcycle_left.png", "page.png")

# Two 503s before the picture, so that the display shows a waiting retry.
_AFTER_RETRIES = "coffee.png"
_CLOUD_METADATA = "http://169.254.169.254/latest/meta-data/"
_BOMB_SIDE = 20_000
_HTML = b"<!doctype html><title>Sign in</title><p>Please sign in to see this picture."


@dataclass(frozen=True, slots=True)
class PictureEvent:
    """One event to publish. A good picture must get a thumbnail, another a dead letter."""

    name: str
    url: str
    is_good: bool = True


def serve_events(web: WebServer, forbidden: WebServer) -> list[PictureEvent]:
    """Put the answers into `web` and into `forbidden`, which no job may dial, and return what to publish."""
    pictures = originals()
    rocket = pictures["rocket.jpg"]
    good = {name: Answer(body, refusals=2 if name == _AFTER_RETRIES else 0) for name, body in pictures.items()}
    bad = {
        "always-503.jpg": Answer(refusals=math.inf),
        "missing.jpg": Answer(status=404),
        "sign-in.jpg": Answer(_HTML, headers={"Content-Type": "image/jpeg"}),
        "truncated.jpg": Answer(rocket[: len(rocket) // 3]),
        "bomb.gif": Answer(_bomb()),
        "redirect-inside.jpg": Answer(status=302, headers={"Location": forbidden.url("/rocket.jpg")}),
    }
    web.answers |= {f"/{name}": answer for name, answer in (good | bad).items()}
    forbidden.answers["/rocket.jpg"] = Answer(rocket)
    return [
        *(PictureEvent(name, web.url(f"/{name}"), is_good=False) for name in bad),
        PictureEvent("metadata-service", _CLOUD_METADATA, is_good=False),
        PictureEvent("private-address", forbidden.url("/rocket.jpg"), is_good=False),
        *(PictureEvent(name, web.url(f"/{name}")) for name in good),
    ]


def originals() -> dict[str, bytes]:
    """Return the files to serve by name. Raises `StackError` when scikit-image is not installed."""
    # Not imported: it is installed without the packages that its code needs.
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise StackError("scikit-image, which brings the pictures, is not installed; run `tools/setup.sh demo`")
    folder = Path(found.submodule_search_locations[0]) / "data"
    files = {name: (folder / name).read_bytes() for name in (*_FREE, *NOT_FREE)}
    for name, (source, convert) in _CONVERSIONS.items():
        with Image.open(folder / source) as image:
            files[name] = convert(image)
    return files


def _bomb() -> bytes:
    """Build a valid GIF of a few bytes that has 400 megapixels."""
    body = _encoded(Image.new("L", (1, 1)), "GIF")
    size_at = len("GIF89a")
    return body[:size_at] + struct.pack("<HH", _BOMB_SIDE, _BOMB_SIDE) + body[size_at + 4 :]


def _encoded(image: Image.Image, format: str, **options: object) -> bytes:  # noqa: A002
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _sixteen_bit(image: Image.Image) -> bytes:
    return _encoded(image.convert("I").point(lambda value: value * 257).convert("I;16"), "PNG")


def _lab(image: Image.Image) -> bytes:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return _encoded(to_lab.apply(image), "TIFF", compression="tiff_deflate")


def _cut_out(image: Image.Image) -> bytes:
    """Put the dark silhouette on a transparent ground."""
    silhouette = image.convert("L")
    silhouette.putalpha(ImageChops.invert(silhouette))
    return _encoded(silhouette.convert("RGBA"), "WEBP", lossless=True)


def _turned(image: Image.Image) -> bytes:
    """Store the picture on its side with the EXIF tag that says how to turn it, as phones do."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return _encoded(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)


def _panning(image: Image.Image) -> bytes:
    frames = [image.crop((x, 200, x + 480, 560)).quantize(64) for x in range(0, 400, 40)]
    return _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100, loop=0)


_CONVERSIONS: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "chelsea.webp": ("chelsea.png", lambda image: _encoded(image, "WEBP", quality=80)),
    "horse-cut-out.webp": ("horse.png", _cut_out),
    "clock.bmp": ("clock_motion.png", lambda image: _encoded(image, "BMP")),
    "text.tiff": ("text.png", lambda image: _encoded(image, "TIFF", compression="tiff_lzw")),
    "astronaut.avif": ("astronaut.png", lambda image: _encoded(image, "AVIF", speed=10)),
    "hubble-animated.gif": ("hubble_deep_field.jpg", _panning),
    "rocket-cmyk.jpg": ("rocket.jpg", lambda image: _encoded(image.convert("CMYK"), "JPEG")),
    "camera-16-bit.png": ("camera.png", _sixteen_bit),
    "coffee-lab.tiff": ("coffee.png", _lab),
    "chelsea-palette.png": ("chelsea.png", lambda image: _encoded(image.quantize(32), "PNG")),
    "rocket-turned.jpg": ("rocket.jpg", _turned),
    "rocket-progressive.jpg": ("rocket.jpg", lambda image: _encoded(image, "JPEG", progressive=True)),
    "retina-48-mp.jpg": ("retina.jpg", lambda image: _encoded(image.resize((6930, 6930)), "JPEG", quality=60)),
}
