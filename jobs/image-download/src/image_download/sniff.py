"""Detection of a body's format from its first bytes. File names and declared types are not trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass

from keda_jobs import Permanent

_HEAD = 1024
_TEXT = rb"(?is)(?:\xef\xbb\xbf)?\s*"


class NotAnImage(Permanent):
    """The body is not an image of an accepted format."""


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """Accepted format: the extension of its keys and its media type."""

    extension: str
    content_type: str


_AVIF = ImageFormat("avif", "image/avif")
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_IMAGES = tuple(
    (ImageFormat(extension, content_type), re.compile(magic, re.DOTALL))
    for extension, content_type, magic in (
        ("jpg", "image/jpeg", rb"\xff\xd8\xff"),
        ("png", "image/png", rb"\x89PNG\r\n\x1a\n"),
        ("gif", "image/gif", rb"GIF8[79]a"),
        ("webp", "image/webp", rb"RIFF.{4}WEBPVP8[ LX]"),
        # Too many texts begin with "BM". The size of the second header, at byte 14, is one of seven.
        ("bmp", "image/bmp", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
        ("tiff", "image/tiff", rb"II[*+]\0|MM\0[*+]"),
    )
)
_OTHERS = tuple(
    (text, re.compile(magic))
    for text, magic in (
        ("not an image: the body is empty", rb"\Z"),
        ("not an image: an HTML page", _TEXT + rb"<(?:!doctype\s+html|html|head|body|script|title|meta)\b"),
        ("SVG is not accepted", _TEXT + rb"<(?:svg\b|(?:\?xml|!--|!doctype).*<svg\b)"),
        ("not an image: markup (XML or HTML)", _TEXT + rb"<(?:\?xml|!|[a-z])"),
        ("not an image: JSON", _TEXT + rb"(?:\{\s*[\"}]|\[\s*[\[\]{\"0-9])"),
        ("not an image: a PDF document", rb"%PDF-"),
        ("PostScript is not accepted", rb"%!PS|\xc5\xd0\xd3\xc6"),
        ("not an image: a ZIP archive", rb"PK(?:\x03\x04|\x05\x06)"),
        ("not an image: gzip data", rb"\x1f\x8b"),
        ("HEIC is not accepted", rb"(?s).{4}ftyp(?:hei[cfmsx]|hev[cmsx]|mif1|msf1)"),
        ("not an image: a video (MP4 or QuickTime)", rb"(?s).{4}ftyp"),
        ("JPEG XL is not accepted", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
        ("JPEG 2000 is not accepted", rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"),
        ("ICO is not accepted", rb"\0\0[\x01\x02]\0"),
        ("Photoshop documents are not accepted", rb"8BPS"),
        ("not an image: plain text", rb"[\t\n\r\x20-\x7e]{4,}\Z"),
    )
)


def find_image(body: bytes | bytearray) -> ImageFormat | None:
    """Return the format of the image in `body`, or None when it is no image of an accepted format."""
    head = bytes(body[:_HEAD])
    for image, magic in _IMAGES:
        if magic.match(head):
            return image
    return _AVIF if _AVIF_BRANDS & _brands(head) else None


def sniff(body: bytes | bytearray) -> ImageFormat:
    """Detect the format of the image in `body`. Raises `NotAnImage`, which says what the body looks like."""
    if image := find_image(body):
        return image
    head = bytes(body[:_HEAD])
    for text, magic in _OTHERS:
        if magic.match(head):
            raise NotAnImage(text)
    raise NotAnImage(f"not an image: it begins with the bytes {head[:8].hex(' ')}")


def _brands(head: bytes) -> set[bytes]:
    """Return the major and the compatible brands of an ISO media file, and nothing for other data."""
    if head[4:8] != b"ftyp":
        return set()
    brands = head[8 : int.from_bytes(head[:4])]
    return {brands[at : at + 4] for at in (0, *range(8, len(brands), 4))}
