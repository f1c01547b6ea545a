"""Broken and foreign files give a thumbnail or `Permanent`, and never another error."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import MAX_PIXELS, encode, picture
from PIL import Image

from image_resize.resize import FORMATS, Thumbnail, make_thumbnail
from keda_jobs.errors import Permanent


def good_files() -> dict[str, bytes]:
    """Build one small file of each kind, with metadata that decoders stumble over."""
    exif = Image.Exif()
    exif[0x0112] = 6
    small, rich = picture(60, 40), {"exif": exif, "icc_profile": bytes(range(256))}
    return {
        "jpeg": encode(small, "JPEG", **rich),
        "progressive jpeg": encode(small, "JPEG", progressive=True),
        "cmyk jpeg": encode(small.convert("CMYK"), "JPEG"),
        "mpo": encode(small, "MPO", save_all=True, append_images=[small]),
        "png": encode(small, "PNG", **rich),
        "palette png": encode(small.quantize(16), "PNG", transparency=b"\x00\x80"),
        "16-bit png": encode(small.convert("L").convert("I;16"), "PNG"),
        "apng": encode(small, "PNG", save_all=True, append_images=[small.rotate(90)]),
        "gif": encode(small, "GIF", save_all=True, append_images=[small.rotate(90)], comment=b"hello"),
        "webp": encode(small, "WEBP", **rich),
        "lossless webp": encode(small.convert("RGBA"), "WEBP", lossless=True),
        "moving webp": encode(small, "WEBP", save_all=True, append_images=[small.rotate(90)]),
        "bmp": encode(small, "BMP"),
        "palette bmp": encode(small.quantize(16), "BMP"),
        "tiff": encode(small, "TIFF", **rich),
        "lzw tiff": encode(small, "TIFF", compression="tiff_lzw"),
        "jpeg tiff": encode(small, "TIFF", compression="jpeg"),
        "float tiff": encode(small.convert("F"), "TIFF"),
        "avif": encode(small, "AVIF", **rich),
        "moving avif": encode(small, "AVIF", save_all=True, append_images=[small.rotate(90)]),
    }


GOOD = good_files()
kinds = pytest.mark.parametrize("kind", GOOD)


def attempt(data: bytes, max_pixels: int = MAX_PIXELS) -> Thumbnail | Permanent:
    """Return the thumbnail or the permanent error. Any other exception fails the test."""
    outcome = _attempt(data, max_pixels)
    assert isinstance(outcome, Thumbnail) or (str(outcome).isprintable() and len(str(outcome)) < 300)
    return outcome


def _attempt(data: bytes, max_pixels: int) -> Thumbnail | Permanent:
    try:
        result = make_thumbnail(data, 200, max_pixels)
    except Permanent as error:
        return error
    with Image.open(BytesIO(result.data)) as image:
        image.load()
        assert max(image.size) <= 200
    return result


@kinds
def test_the_good_files_are_good(kind: str) -> None:
    assert isinstance(attempt(GOOD[kind]), Thumbnail)


@kinds
def test_a_file_that_ends_too_early_is_permanent_or_still_a_picture(kind: str) -> None:
    data = GOOD[kind]
    for end in range(0, len(data), max(1, len(data) // 40)):
        attempt(data[:end])


@pytest.mark.parametrize("file_format", FORMATS)
def test_half_a_picture_is_permanent(file_format: str) -> None:
    data = encode(picture(300, 200), file_format)
    with pytest.raises(Permanent, match=r"the picture cannot be decoded: |it begins as \w+, but is cut off or broken"):
        make_thumbnail(data[: len(data) // 2], 200, MAX_PIXELS)


@kinds
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=6))
def test_flipped_bytes_are_permanent_or_still_a_picture(kind: str, flips: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD[kind])
    for position, value in flips:
        data[position % len(data)] = value
    attempt(bytes(data), 1_000_000)


@kinds
def test_flips_of_the_header_are_permanent_or_still_a_picture(kind: str) -> None:
    data = GOOD[kind]
    for position in range(min(len(data), 120)):
        for value in (0x00, 0xFF, data[position] ^ 0x80):
            attempt(data[:position] + bytes([value]) + data[position + 1 :], 1_000_000)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(start=st.sampled_from([data[:40] for data in GOOD.values()]), rest=st.binary(max_size=400))
def test_garbage_after_a_good_start_is_permanent_or_still_a_picture(start: bytes, rest: bytes) -> None:
    attempt(start + rest, 1_000_000)


def other_formats() -> dict[str, bytes]:
    """Build pictures in other formats that Pillow could open, and files that are not pictures."""
    files = {
        "nothing": b"",
        "a byte": b"\xff",
        "HTML": b"<!doctype html><title>404</title>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>',
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(500),
        "zip": b"PK\3\4" + bytes(100),
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        "FITS": b"SIMPLE  =                    T".ljust(2880),
        "text": b"just text\n" * 100,
    }
    for name in ("EPS", "PDF", "ICO", "PPM", "JPEG2000", "TGA", "SGI", "PCX", "DDS", "ICNS", "QOI", "BLP"):
        mode = "P" if name == "BLP" else "RGBA" if name == "ICNS" else "RGB"
        files[name] = encode(picture(64, 64).convert(mode), name)
    return files


OTHER_FORMATS = other_formats()


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_other_formats_are_not_opened(name: str) -> None:
    with pytest.raises(Permanent, match="no readable picture in one of JPEG, PNG, GIF, WEBP, BMP, TIFF, AVIF"):
        make_thumbnail(OTHER_FORMATS[name], 200, MAX_PIXELS)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("JPEG", b"\xff\xd8\xff"),
        ("PNG", b"\x89PNG\r\n\x1a\n"),
        ("PNG", encode(picture(9, 9), "PNG").replace(b"IHDR", b"IHDX")),
        ("GIF", b"GIF89a\1\0"),
        ("WebP", b"RIFF\4\0\0\0WEBP"),
        ("TIFF", b"II*\0\xff\xff\xff\xff"),
        ("AVIF", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif"),
    ],
)
def test_a_broken_picture_is_not_said_to_be_none(name: str, data: bytes) -> None:
    with pytest.raises(Permanent, match=rf"it begins as {name}, but is cut off or broken|cannot be decoded"):
        make_thumbnail(data, 200, MAX_PIXELS)
