"""Metadata never costs the picture: whatever stands beside the pixels, the thumbnail is that of the plain picture."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import encode, png_chunk, quadrants, thumbnail
from PIL import Image, ImageCms, PngImagePlugin

from image_resize.strip import strip
from image_resize.strip.stripped import MAX_PROFILE

XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
EXIF_OF_90 = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
BODIES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"",
            b"key\0text",
            b"key\0\0" + zlib.compress(b"text"),
            b"key\0\7" + zlib.compress(b"text"),
            b"name\0\0" + zlib.compress(bytes(5_000_000)),
            b"XML:com.adobe.xmp\0\0\0\0\0" + XMP,
            b"Exif\0\0II*\0\xff\xff\xff\xff",
            b"Exif\0\0" + EXIF_OF_90[:14],
            b"MM\0*\0\0\0\x08\xff\xff",
            XMP,
            b"\0" * 26,
            b"\xff" * 26,
        ]
    ),
)
SMALL = quadrants(60, 40)


PNG_CHUNKS = [
    b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME", b"acTL", b"fcTL", b"fdAT",
    b"bKGD", b"hIST", b"sBIT", b"sPLT", b"cICP", b"PLTE", b"teSt", b"TeST", b"\xff\xfe\x00\x01",
]  # fmt: skip


@st.composite
def pngs(draw: st.DrawFn) -> bytes:
    plain = encode(SMALL, "PNG")
    pixels, end = plain.index(b"IDAT") - 4, plain.index(b"IEND") - 4
    chunks = st.lists(st.builds(png_chunk, st.sampled_from(PNG_CHUNKS), BODIES, st.booleans()), max_size=4)
    before, after = b"".join(draw(chunks)), b"".join(draw(chunks))
    tail = draw(st.sampled_from([plain[end:], b"", plain[end:] + b"<html>", b"\0\0"]))
    return plain[:pixels] + before + plain[pixels:end] + after + tail


@st.composite
def jpegs(draw: st.DrawFn) -> bytes:
    plain = encode(SMALL, "JPEG")
    heads = st.sampled_from(
        [
            b"",
            b"JFXX\0",
            b"Exif\0\0",
            b"ICC_PROFILE\0",
            b"ICC_PROFILE\0\1\3",
            b"ICC_PROFILE\0\1\1",
            b"MPF\0",
            b"FPXR\0",
            b"Photoshop 3.0\x008BIM\x03\xed",
            b"http://ns.adobe.com/xap/1.0/\0",
        ]
    )
    markers = st.sampled_from([0xE0, 0xE1, 0xE2, 0xE3, 0xEC, 0xED, 0xEE, 0xEF, 0xFE, 0xF0, 0xFD])
    segment = st.builds(
        lambda marker, head, body: bytes([0xFF, marker]) + struct.pack(">H", 2 + len(head + body)) + head + body,
        markers,
        heads,
        st.binary(max_size=60) | st.just(XMP),
    )
    parts = st.lists(segment | st.sampled_from([b"\xff\xff", b"\0junk"]), max_size=4)
    tail = draw(st.sampled_from([b"", b"<html>", b"\xff\xd8\xff"]))
    return plain[:20] + b"".join(draw(parts)) + plain[20:] + tail


@st.composite
def gifs(draw: st.DrawFn) -> bytes:
    plain = encode(SMALL.quantize(4), "GIF")
    start = 13 + (3 << (plain[10] & 7) + 1)
    blocks = st.lists(st.binary(min_size=1, max_size=40), max_size=3).map(
        lambda parts: b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
    )
    labels = st.integers(0, 255).filter(lambda label: label != 0xF9)
    extensions = st.lists(st.builds(lambda label, body: bytes([0x21, label]) + body, labels, blocks), max_size=3)
    odd_control = draw(st.sampled_from([b"", b"!\xf9\0", b"!\xf9\1\7\0"]))
    tail = draw(st.sampled_from([b";", b"", b";<html>"]))
    return (
        plain[:start] + b"".join(draw(extensions)) + odd_control + plain[start:-1] + b"".join(draw(extensions)) + tail
    )


def riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


@st.composite
def webps(draw: st.DrawFn) -> bytes:
    plain = encode(SMALL, "WEBP")
    kinds = st.sampled_from([b"EXIF", b"XMP ", b"ICCP", b"ANIM", b"test", b"\0\0\0\0"])
    chunk = st.builds(
        lambda kind, body: kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2), kinds, BODIES
    )
    flags = draw(st.sampled_from([0x00, 0x2C, 0x08, 0x04, 0x20]))
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + b"\x3b\0\0\x27\0\0"
    parts = [b"".join(draw(st.lists(chunk, max_size=3))) for _ in range(2)]
    body = b"WEBP" + canvas + parts[0] + plain[12:] + parts[1]
    size = draw(st.sampled_from([len(body), len(body) + 100, 4]))
    return b"RIFF" + struct.pack("<I", size) + body + draw(st.sampled_from([b"", b"<html>"]))


METADATA_TAGS = [
    254, 269, 270, 271, 272, 282, 283, 296, 297, 305, 306, 315, 316, 318, 319, 330, 333, 700, 33723, 34377, 34665,
    34675, 34853, 37724, 40965, 42112, 65000,
]  # fmt: skip


@st.composite
def tiffs(draw: st.DrawFn) -> bytes:
    plain = encode(SMALL, "TIFF")
    (start,) = struct.unpack_from("<I", plain, 4)
    (count,) = struct.unpack_from("<H", plain, start)
    entries = [plain[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)]
    tags = st.sampled_from(METADATA_TAGS)
    numbers = st.sampled_from([0, 1, 2, 8, 0x7FFFFFFF, 0xFFFFFFFF]) | st.integers(0, 4000)
    extra = st.builds(lambda *fields: struct.pack("<HHII", *fields), tags, st.integers(0, 20), numbers, numbers)
    kept = [entry for entry in entries if struct.unpack_from("<H", entry)[0] not in (282, 283, 296)]
    merged = sorted([*kept, *draw(st.lists(extra, max_size=6))], key=lambda entry: struct.unpack_from("<H", entry)[0])
    next_directory = struct.pack("<I", draw(st.sampled_from([0, 8, 0xFFFFFFFF])))
    directory = struct.pack("<H", len(merged)) + b"".join(merged) + next_directory
    return plain[:4] + struct.pack("<I", len(plain)) + plain[8:] + directory


def avif_with_metadata() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    return encode(SMALL, "AVIF", exif=exif, xmp=XMP)


AVIF = avif_with_metadata()


@st.composite
def avifs(draw: st.DrawFn) -> bytes:
    data = bytearray(AVIF)
    exif = data.index(b"MM\0*") - 10
    for at, value in draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=8)):
        data[exif + at] = value
    where = data.index(b"iloc") + 12 + 14  # the second item is the EXIF block
    if draw(st.booleans()):
        struct.pack_into(">II", data, where + 6, *draw(st.tuples(*[st.integers(0, 0xFFFFFFFF)] * 2)))
    return bytes(data) + draw(st.sampled_from([b"", b"\0\0\0\x08free"]))


@st.composite
def bmps(draw: st.DrawFn) -> bytes:
    data = bytearray(PLAIN["BMP"])
    struct.pack_into("<I", data, 2, draw(st.integers(0, 0xFFFFFFFF)))
    struct.pack_into("<II", data, 46, draw(st.sampled_from([0, 16, 17, 0xFFFFFFFF])), draw(st.integers(0, 0xFFFFFFFF)))
    struct.pack_into("<ii", data, 38, *draw(st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 2)))
    return bytes(data) + draw(st.binary(max_size=20))


PLAIN = {
    "PNG": encode(SMALL, "PNG"),
    "JPEG": encode(SMALL, "JPEG"),
    "GIF": encode(SMALL.quantize(4), "GIF"),
    "WEBP": encode(SMALL, "WEBP"),
    "TIFF": encode(SMALL, "TIFF"),
    "AVIF": encode(SMALL, "AVIF"),
    "BMP": encode(SMALL.quantize(16), "BMP"),
}
RICH = {"PNG": pngs, "JPEG": jpegs, "GIF": gifs, "WEBP": webps, "TIFF": tiffs, "AVIF": avifs, "BMP": bmps}


@pytest.mark.parametrize("file_format", PLAIN)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_broken_metadata_changes_nothing(file_format: str, data: st.DataObject) -> None:
    assert thumbnail(data.draw(RICH[file_format]())) == thumbnail(PLAIN[file_format])


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def test_items_of_metadata_in_the_tracks_of_an_avif_are_removed_too() -> None:
    item = box(b"infe", bytes([2, 0, 0, 0, 0, 7, 0, 0]), b"Exif\0")
    picture_item = box(b"infe", bytes([2, 0, 0, 0, 0, 1, 0, 0]), b"av01\0")
    listed = box(b"meta", bytes(4), box(b"iinf", bytes(4), b"\0\2", picture_item, item))
    data = box(b"ftyp", b"avis", bytes(4), b"avifavis") + box(b"moov", box(b"mvhd", bytes(20)), box(b"trak", listed))
    assert strip(data).data == data.replace(b"Exif", b"skip")


@given(
    st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]), st.binary(min_size=8, max_size=60)
)
@example(b"II+\0\x08\0\0\0", b"\xff" * 8)
def test_a_directory_anywhere_raises_nothing(head: bytes, rest: bytes) -> None:
    assert len(strip(head + rest).data) >= len(head)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_orientation_that_only_xmp_tells_is_ignored(file_format: str) -> None:
    if file_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        data = encode(SMALL, "PNG", pnginfo=text)
    else:
        data = encode(SMALL, file_format, xmp=XMP, tiffinfo={700: XMP})
    assert XMP in data
    assert thumbnail(data) == thumbnail(PLAIN[file_format])


def padded_profile(size: int) -> bytes:
    """Build a profile of `size` bytes in which red and green change places."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)
    return struct.pack(">I", size) + profile[4:] + bytes(size - len(profile))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_a_large_profile_is_used_and_an_absurd_one_ignored(file_format: str) -> None:
    small, large, absurd = (
        thumbnail(encode(SMALL, file_format, icc_profile=padded_profile(size)))
        for size in (4_000, MAX_PROFILE, MAX_PROFILE + 4)
    )
    assert small == large != absurd
    assert absurd == thumbnail(PLAIN[file_format])


def test_a_profile_of_many_megabytes_costs_no_memory() -> None:
    data = encode(SMALL, "TIFF", icc_profile=padded_profile(45_000_000))
    assert strip(data).profile is None
