"""Every colour mode becomes 8-bit sRGB, and transparency is kept."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from pictures import (
    CORNERS,
    LOSSY_TOLERANCE,
    WHITE,
    close,
    encode,
    extremes,
    opened,
    pixel,
    png,
    png_header,
    quadrants,
    thumbnail,
)
from PIL import Image, ImageCms

from keda_jobs.errors import Permanent

GREYS = [(luma, luma, luma) for luma in (76, 75, 29, 255)]


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """Build a profile of sRGB with the primaries of red and green exchanged."""
    return srgb_profile().replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)


def half_transparent(mode: str, size: tuple[int, int] = (600, 600)) -> tuple[Image.Image, dict[str, Any]]:
    """Draw white on the right and a fully transparent colour on the left. Return it with its save options."""
    width, height = size
    left = (0, 0, width // 2, height)
    image = Image.new("RGBA", size, (255, 255, 255, 255))
    image.paste((0, 255, 0, 0), left)
    match mode:
        case "RGBA":
            return image, {}
        case "LA":
            return image.convert("LA"), {}
        case "P":
            indexed = Image.new("P", size, 1)
            indexed.putpalette([0, 255, 0, 255, 255, 255])
            indexed.paste(0, left)
            return indexed, {"transparency": 0}
        case "RGB":
            return image.convert("RGB"), {"transparency": (0, 255, 0)}
        case _:
            grey = Image.new("L", size, 255)
            grey.paste(0, left)
            return grey.convert(mode), {"transparency": 0}


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [
        *[("PNG", mode) for mode in ("RGBA", "LA", "P", "RGB", "L", "1")],
        ("GIF", "P"),
        ("WEBP", "RGBA"),
        ("AVIF", "RGBA"),
        ("TIFF", "RGBA"),
        ("TIFF", "LA"),
    ],
)
def test_transparency_is_kept_and_hidden_colours_do_not_bleed(file_format: str, mode: str) -> None:
    # 600 to 130 px puts the border between the halves inside an averaged pixel.
    image = opened(encode(*half_transparent(mode)[:1], file_format, **half_transparent(mode)[1]), 130)
    assert "A" in image.getbands()
    red, green, blue, alpha = image.convert("RGBA").split()
    assert max(extremes(alpha.crop((0, 0, 60, 130)))) <= 2
    assert min(extremes(alpha.crop((70, 0, 130, 130)))) >= 253
    visible = alpha.point(lambda value: 255 if value > 16 else 0)
    for channel in (red, green, blue):
        shown = Image.composite(channel, Image.new("L", channel.size, 255), visible)
        assert extremes(shown)[0] >= 255 - 2 * LOSSY_TOLERANCE


def test_partly_transparent_palettes_are_kept() -> None:
    indexed = Image.new("P", (400, 400), 1)
    indexed.putpalette([255, 0, 0, 0, 0, 255])
    indexed.paste(0, (0, 0, 200, 400))
    image = opened(encode(indexed, "PNG", transparency=bytes([128, 255])))
    assert image.mode == "RGBA"
    assert pixel(image, (20, 100)) == (255, 0, 0, 128)
    assert pixel(image, (180, 100)) == (0, 0, 255, 255)


def ramp(mode: str, low: float, high: float) -> Image.Image:
    """Draw a ramp from `low` on the left to `high` on the right, 512 pixels wide."""
    row = Image.new("F", (512, 1))
    row.putdata([low + (high - low) * x / 511 for x in range(512)])
    image = row.resize((512, 64), Image.Resampling.NEAREST)
    if mode == "F":
        return image
    whole = image.convert("I")
    return whole if mode == "I" else whole.convert(mode)


@pytest.mark.parametrize(
    ("mode", "file_format", "low", "high"),
    [
        ("I;16", "PNG", 0, 65535),
        ("I;16", "TIFF", 0, 65535),
        ("I;16B", "TIFF", 0, 65535),
        ("I", "TIFF", 0, 65535),
        ("I", "TIFF", -1_000_000, 2_000_000),
        ("F", "TIFF", 0.0, 1.0),
        ("F", "TIFF", -300.0, 90_000.0),
    ],
)
def test_deep_pictures_are_scaled_not_clipped(mode: str, file_format: str, low: float, high: float) -> None:
    image = opened(encode(ramp(mode, low, high), file_format))
    assert image.mode == "L"
    line = [pixel(image, (x, 10))[0] for x in range(image.width)]
    assert all(abs(value - 255 * x / (image.width - 1)) <= 2 for x, value in enumerate(line))


def test_sixteen_bits_are_not_stretched_to_the_picture() -> None:
    assert extremes(opened(encode(Image.new("I;16", (300, 300), 257 * 100), "PNG"))) == (100, 100)


def test_a_deep_picture_of_one_value_is_black() -> None:
    assert extremes(opened(encode(Image.new("F", (300, 300), 7.5), "TIFF"))) == (0, 0)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_floats_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(Permanent, match="not finite"):
        thumbnail(encode(Image.new("F", (300, 300), value), "TIFF"))


def sixteen_bit_png(colour: tuple[int, ...], *, hidden: tuple[int, ...] = ()) -> bytes:
    """Build a square of one 16-bit colour, which Pillow cannot write. `hidden` is declared transparent."""
    rows = (b"\0" + struct.pack(f">{len(colour)}H", *colour) * 300) * 300
    key = [(b"tRNS", struct.pack(f">{len(hidden)}H", *hidden))] if hidden else []
    header = png_header(300, 300, 16, 2 if len(colour) == 3 else 0)
    return png(header, *key, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


def test_sixteen_bit_colour_is_scaled() -> None:
    assert pixel(opened(sixteen_bit_png((65535, 32896, 0))), (50, 50)) == (255, 128, 0)


def test_sixteen_bit_grey_keeps_its_transparent_level() -> None:
    assert pixel(opened(sixteen_bit_png((5000,), hidden=(5000,))), (50, 50)) == (0, 0)
    assert pixel(opened(sixteen_bit_png((25700,), hidden=(5000,))), (50, 50)) == (100, 255)


@pytest.mark.parametrize("size", [(500, 300), (2400, 1600)])
@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(file_format: str, size: tuple[int, int]) -> None:
    image = opened(encode(quadrants(*size).convert("CMYK"), file_format))
    assert image.mode == "RGB"
    assert close(image, CORNERS)


@pytest.mark.parametrize(
    ("mode", "file_format", "expected"),
    [
        ("1", "PNG", "L"),
        ("1", "TIFF", "L"),
        ("1", "BMP", "L"),
        ("L", "JPEG", "L"),
        ("L", "PNG", "L"),
        ("L", "GIF", "RGB"),
        ("P", "PNG", "RGB"),
        ("P", "BMP", "RGB"),
        ("P", "TIFF", "RGB"),
        ("YCbCr", "TIFF", "RGB"),
        ("RGBX", "TIFF", "RGB"),
    ],
)
def test_every_mode_becomes_grey_or_rgb(mode: str, file_format: str, expected: str) -> None:
    original = quadrants(400, 400)
    if mode == "1":
        original.paste((0, 0, 0), (0, 0, 200, 400))
        original.paste(WHITE, (200, 0, 400, 400))
    image = opened(encode(original.convert(mode), file_format))
    assert image.mode == expected
    assert close(image, [(0, 0, 0), WHITE, (0, 0, 0), WHITE] if mode == "1" else GREYS if mode == "L" else CORNERS)


def test_one_bit_pictures_become_grey_where_they_are_averaged() -> None:
    checked = Image.new("1", (600, 600))
    checked.putdata([255 * ((x + y) % 2) for y in range(600) for x in range(600)])
    low, high = extremes(opened(encode(checked, "PNG"), 100))
    assert 126 <= low <= high <= 129


def test_lab_becomes_rgb() -> None:
    lab = ImageCms.profileToProfile(
        quadrants(300, 300), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    # Eight bits of Lab cannot represent the purest blue more exactly.
    assert close(opened(encode(lab, "TIFF")), CORNERS, tolerance=25)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_icc_profile_is_converted_to_srgb(file_format: str) -> None:
    data = encode(Image.new("RGB", (300, 300), (255, 0, 0)), file_format, icc_profile=swapped_profile())
    red, green, blue = pixel(opened(data).convert("RGB"), (50, 50))
    assert green > 240
    assert red < LOSSY_TOLERANCE
    assert blue < LOSSY_TOLERANCE


def test_an_icc_profile_leaves_transparency_alone() -> None:
    image = opened(encode(Image.new("RGBA", (300, 300), (255, 0, 0, 77)), "PNG", icc_profile=swapped_profile()))
    assert pixel(image, (50, 50)) == (0, 255, 0, 77)


@pytest.mark.parametrize(
    "profile", [b"", b"broken", srgb_profile()[:200], b"\0" * 5000, srgb_profile().replace(b"RGB ", b"CMYK")]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_an_unusable_profile_is_ignored(mode: str, profile: bytes) -> None:
    original = quadrants(150, 150).convert(mode)
    assert opened(encode(original, "PNG", icc_profile=profile)).tobytes() == original.tobytes()


def test_a_colour_profile_in_a_cmyk_picture_is_ignored() -> None:
    assert close(opened(encode(quadrants(400, 400).convert("CMYK"), "JPEG", icc_profile=srgb_profile())), CORNERS)
