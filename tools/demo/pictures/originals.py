"""Good pictures: photographs and scans that come with scikit-image, and other formats made from them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, ImageChops, ImageCms

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
_OTHERS = ("coins.png", "ihc.png", "moon.png", "motorcycle_left.png", "page.png")

_LARGE = (6930, 6930)


@dataclass(frozen=True, slots=True)
class Original:
    """File to serve. The README may show the thumbnail of a free one."""

    name: str
    body: bytes
    is_free: bool = True


def originals() -> list[Original]:
    """Return all of them. Raises `StackError` when scikit-image is not installed."""
    folder = _folder()
    real = [Original(name, (folder / name).read_bytes(), name in _FREE) for name in _FREE + _OTHERS]
    return real + [Original(name, body) for name, body in _conversions(folder)]


def _folder() -> Path:
    # Not imported: it is installed without the packages that its code needs.
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise StackError("scikit-image, which brings the pictures, is not installed; run `tools/setup.sh demo`")
    return Path(found.submodule_search_locations[0]) / "data"


def _conversions(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name, (source, convert) in _CONVERSIONS.items():
        with Image.open(folder / source) as image:
            yield name, convert(image)


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


def _large(image: Image.Image) -> bytes:
    return _encoded(image.resize(_LARGE, Image.Resampling.BILINEAR), "JPEG", quality=60)


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
    "retina-48-mp.jpg": ("retina.jpg", _large),
}
