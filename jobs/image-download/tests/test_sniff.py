"""Formats detected from the first bytes of a body."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_download.sniff import NotAnImage, sniff


def ftyp(*brands: bytes) -> bytes:
    """Build the first box of an ISO media file and some bytes after it."""
    payload = brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I", 8 + len(payload)) + b"ftyp" + payload + b"\x00\x00\x00\x10metaavif"


BMP = b"BM" + struct.pack("<IHHI", 70, 0, 0, 54) + struct.pack("<I", 40) + bytes(52)

IMAGES = [
    (b"\xff\xd8\xff\xe0\x00\x10JFIF", "jpg", "image/jpeg"),
    (b"\xff\xd8\xff\xe1\x00\x10Exif", "jpg", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "png", "image/png"),
    (b"GIF87a\x01\x00", "gif", "image/gif"),
    (b"GIF89a\x01\x00", "gif", "image/gif"),
    (b"RIFF\x0a\x0d\x0a\x00WEBPVP8 ", "webp", "image/webp"),
    (b"RIFF\x00\x00\x00\x00WEBPVP8L", "webp", "image/webp"),
    (b"RIFF\x00\x00\x00\x00WEBPVP8X", "webp", "image/webp"),
    (BMP, "bmp", "image/bmp"),
    (b"BM" + b"\n" * 12 + struct.pack("<I", 12), "bmp", "image/bmp"),
    (b"II*\x00\x08\x00\x00\x00", "tiff", "image/tiff"),
    (b"MM\x00*\x00\x00\x00\x08", "tiff", "image/tiff"),
    (b"II+\x00\x08\x00\x00\x00", "tiff", "image/tiff"),
    (b"MM\x00+\x00\x08\x00\x00", "tiff", "image/tiff"),
    (ftyp(b"avif", b"mif1"), "avif", "image/avif"),
    (ftyp(b"avis", b"msf1"), "avif", "image/avif"),
    (ftyp(b"mif1", b"miaf", b"avif"), "avif", "image/avif"),
]

OTHERS = [
    (b"", "not an image: the body is empty"),
    (b"<!DOCTYPE html><svg></svg>", "not an image: an HTML page"),
    (b"\xef\xbb\xbf\r\n <HTML lang=en>", "not an image: an HTML page"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG is not accepted"),
    (b"<?xml version='1.0'?>\n<!-- made by hand -->\n<svg>", "SVG is not accepted"),
    (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "not an image: markup (XML or HTML)"),
    (b'{"error": "no"}', "not an image: JSON"),
    (b"[1, 2]", "not an image: JSON"),
    (b"%PDF-1.7", "not an image: a PDF document"),
    (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript is not accepted"),
    (b"PK\x03\x04", "not an image: a ZIP archive"),
    (b"\x1f\x8b\x08\x00", "not an image: gzip data"),
    (ftyp(b"heic", b"mif1"), "HEIC is not accepted"),
    (ftyp(b"mif1", b"heic"), "HEIC is not accepted"),
    (ftyp(b"isom", b"mp42"), "not an image: a video (MP4 or QuickTime)"),
    (b"\xff\x0a\xfa\x7f", "JPEG XL is not accepted"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000 is not accepted"),
    (b"\x00\x00\x01\x00\x01\x00", "ICO is not accepted"),
    (b"8BPS\x00\x01", "Photoshop documents are not accepted"),
    (b"Not found\n", "not an image: plain text"),
    (b"BMW and other makers of cars, motorcycles", "not an image: plain text"),
    (b"\xff\xd8", "not an image: it begins with the bytes ff d8"),
    (b"\x89PNG\n\x1a\n", "not an image: it begins with the bytes 89 50 4e 47 0a 1a 0a"),
    (b"RIFF\x00\x00\x00\x00WAVEfmt ", "not an image: it begins with the bytes 52 49 46 46 00 00 00 00"),
    (bytes(20), "not an image: it begins with the bytes 00 00 00 00 00 00 00 00"),
]


@pytest.mark.parametrize(("body", "extension", "content_type"), IMAGES)
def test_an_image_is_recognized_by_its_bytes(body: bytes, extension: str, content_type: str) -> None:
    image = sniff(bytearray(body))
    assert (image.extension, image.content_type) == (extension, content_type)


@pytest.mark.parametrize(("body", "reason"), OTHERS)
def test_any_other_body_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(NotAnImage) as refused:
        sniff(body)
    assert str(refused.value) == reason


@given(st.binary(max_size=64) | st.builds(lambda tail: b"\x00\x00\x00\x1cftyp" + tail, st.binary(max_size=40)))
def test_any_bytes_are_either_an_image_or_refused_in_one_printable_line(body: bytes) -> None:
    try:
        verdict = sniff(body).content_type
    except NotAnImage as refused:
        verdict = str(refused)
    assert verdict.isprintable()
