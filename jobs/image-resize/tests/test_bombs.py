"""Files that try to use much time or memory stop soon and within the documented limits."""

from __future__ import annotations

import contextlib
import functools
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pictures import encode, picture, png, png_header, thumbnail, tiff
from PIL import Image

from image_resize import resize
from image_resize.resize import make_thumbnail
from keda_jobs.errors import Permanent

JPEG = encode(picture(60, 40), "JPEG")
GIF = encode(picture(60, 40), "GIF", save_all=True, append_images=[picture(60, 40).rotate(90)])
WEBP = encode(picture(60, 40), "WEBP", save_all=True, append_images=[picture(60, 40).rotate(90)])


def one_bit_png(side: int) -> bytes:
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return png(png_header(side, side, 1, 0), (b"IDAT", rows), (b"IEND", b""))


def too_many_pixels() -> dict[str, bytes]:
    gif = (
        b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\0\0\0,\0\0\0\0"
        + struct.pack("<HH", 65535, 65535)
        + b"\0\2\0;"
    )
    beyond_canvas = b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0" + struct.pack("<HH", 65535, 65535) + b"\0\2\0;"
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + b"\xff\x3f\0" * 2
    frame = WEBP[30:]
    jpeg = JPEG
    frame_size = jpeg.index(b"\xff\xc0")
    return {
        "png header": png(png_header(50_000, 50_000), (b"IDAT", b""), (b"IEND", b"")),
        "png of 400 million real pixels": one_bit_png(20_000),
        "png of the largest size": png(png_header(2**31 - 1, 2**31 - 1), (b"IDAT", b"")),
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "gif": gif,
        "gif frame beyond its canvas": beyond_canvas,
        "jpeg": jpeg[: frame_size + 5] + struct.pack(">HH", 65500, 65500) + jpeg[frame_size + 9 :],
        "tiff": tiff(60_000, 60_000),
        "webp": b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(frame)) + b"WEBP" + canvas + frame,
        "just above": one_bit_png(10_008),
    }


TOO_MANY_PIXELS = too_many_pixels()


@pytest.mark.parametrize("name", TOO_MANY_PIXELS)
def test_too_many_pixels_are_refused_before_decoding(name: str) -> None:
    started = time.process_time()
    with pytest.raises(Permanent, match=r"more than the 100000000 pixels of RESIZE_MAX_PIXELS"):
        thumbnail(TOO_MANY_PIXELS[name])
    assert time.process_time() - started < 0.5


def test_a_picture_of_exactly_the_limit_passes() -> None:
    data = encode(picture(100, 80), "PNG")
    assert make_thumbnail(data, 200, 8000).width == 100
    with pytest.raises(Permanent, match="more than the 7999 pixels"):
        make_thumbnail(data, 200, 7999)


def test_one_bit_pictures_may_have_many_pixels() -> None:
    assert thumbnail(one_bit_png(9_992)).width == 200


@functools.cache
def zeros() -> bytes:
    """Compress 100 MB of nothing."""
    return zlib.compress(bytes(100_000_000), 9)


def text_chunks() -> list[tuple[bytes, bytes]]:
    return [(b"zTXt", b"k%d\0\0" % number + zlib.compress(bytes(900_000))) for number in range(200)]


def gif_with(blocks: bytes) -> bytes:
    """Put blocks behind the table of colours."""
    table_end = 13 + 3 * (2 << (GIF[10] & 7))
    return GIF[:table_end] + blocks + GIF[table_end:]


HEAD, IMAGE, END = png_header(9, 9), (b"IDAT", zlib.compress(bytes(28 * 9))), (b"IEND", b"")
STRIPS = 300_000
# Made by the test, and not whenever pytest looks for tests.
BOMBS: dict[str, Callable[[], bytes]] = {
    "zTXt": lambda: png(HEAD, (b"zTXt", b"key\0\0" + zeros()), IMAGE, END),
    "zTXt behind the picture": lambda: png(HEAD, IMAGE, (b"zTXt", b"key\0\0" + zeros()), END),
    "iTXt": lambda: png(HEAD, (b"iTXt", b"key\0\1\0\0\0" + zeros()), IMAGE, END),
    "iCCP": lambda: png(HEAD, (b"iCCP", b"name\0\0" + zeros()), IMAGE, END),
    "much text": lambda: png(HEAD, *text_chunks(), IMAGE, END),
    "more data than rows": lambda: png(HEAD, (b"IDAT", zeros()), END),
    "a million chunks": lambda: png(HEAD, *[(b"teSt", b"")] * 1_000_000, IMAGE, END),
    "gif comment": lambda: gif_with(b"!\xfe" + (b"\xff" + b"x" * 255) * 80_000 + b"\0"),
    "gif extensions": lambda: gif_with(b"!\xf9\4\0\0\0\0\0" * 1_000_000),
    "tiff strips": lambda: (
        tiff(1, STRIPS, (273, 4, STRIPS, 200), (278, 4, 1, 1), (279, 4, STRIPS, 200)) + bytes(4 * STRIPS + 400)
    ),
    "tiff tag count": lambda: tiff(9, 9, (273, 4, 0xFFFFFFFF, 8)),
    "tiff huge tag": lambda: tiff(9, 9, (700, 1, 0x7FFFFFFF, 200)),
    "tiff directory behind the end": lambda: b"II*\0\xff\xff\xff\xff",
    "tiff directory in itself": lambda: b"II*\0\2\0\0\0" + bytes(100),
    "jpeg of nothing but segments": lambda: b"\xff\xd8" + b"\xff\xe1\0\2" * 1_000_000 + JPEG[2:],
    "jpeg profile in pieces": lambda: b"\xff\xd8" + (b"\xff\xe2\0\x10ICC_PROFILE\0\1") * 200_000 + JPEG[2:],
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_stop_soon(name: str) -> None:
    bomb = BOMBS[name]()
    started = time.process_time()
    with contextlib.suppress(Permanent):
        thumbnail(bomb)
    assert time.process_time() - started < 5


def many_frames(count: int) -> dict[str, bytes]:
    gif = GIF
    first = gif.index(b"!\xf9")
    webp = WEBP
    frames = webp.index(b"ANMF")
    size = 8 + struct.unpack("<I", webp[frames + 4 : frames + 8])[0]
    body = webp[12:frames] + webp[frames : frames + size] * count
    return {
        "gif": gif[:first] + gif[first:-1] * count + gif[-1:],
        "webp": b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body,
    }


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_ten_thousand_frames_are_no_more_work_than_one(kind: str) -> None:
    data = many_frames(10_000)[kind]
    with Image.open(BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) >= 9_999
    started = time.process_time()
    assert thumbnail(data).width == 60
    assert time.process_time() - started < 1


def endless_jpeg(scans: int) -> bytes:
    """Build a progressive JPEG that refines its 25 million pixels again and again."""
    data = encode(Image.new("L", (5000, 5000), 99), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def test_a_jpeg_of_too_many_scans_is_refused() -> None:
    data = endless_jpeg(10_000)
    started = time.process_time()
    with pytest.raises(Permanent, match="more than 100 scans"):
        thumbnail(data)
    assert time.process_time() - started < 0.5


def test_a_jpeg_of_too_many_scans_inside_a_tiff_stops_soon() -> None:
    data = endless_jpeg(10_000)
    strip = (259, 3, 1, 7), (273, 4, 1, 122), (279, 4, 1, len(data))
    started = time.process_time()
    with pytest.raises(Permanent):
        thumbnail(tiff(5000, 5000, *strip) + data)
    assert time.process_time() - started < 5


def test_a_tiff_of_many_jpeg_strips_is_a_good_picture() -> None:
    data = encode(picture(64, 4000), "TIFF", compression="jpeg", strip_size=2000)
    assert data.count(b"\xff\xda\0") > resize.MAX_SCANS
    assert thumbnail(data).height == 200


PEAK = """
import pathlib, resource, sys
from image_resize.resize import make_thumbnail
data = pathlib.Path(sys.argv[1]).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = make_thumbnail(data, 200, 100_000_000)
print(made.width, made.height, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def large(file_format: str, mode: str, **options: Any) -> Callable[[], bytes]:
    """Build a function that encodes 48 megapixels."""
    return lambda: encode(Image.linear_gradient("L").resize((8000, 6000)).convert(mode), file_format, **options)


@pytest.mark.parametrize(
    ("make", "most_mib"),
    [
        pytest.param(large("JPEG", "RGB"), 40, id="jpeg"),
        pytest.param(large("JPEG", "RGB", progressive=True, subsampling=0), 310, id="progressive jpeg"),
        pytest.param(large("JPEG", "CMYK"), 40, id="cmyk jpeg"),
        pytest.param(large("PNG", "RGB", compress_level=1), 210, id="png"),
        pytest.param(large("PNG", "RGBA", compress_level=1), 210, id="transparent png"),
        pytest.param(large("PNG", "I;16", compress_level=1), 130, id="16-bit png"),
        pytest.param(large("TIFF", "RGB", compression="tiff_lzw"), 360, id="tiff"),
        pytest.param(large("WEBP", "RGB", method=0), 830, id="webp"),
        pytest.param(large("AVIF", "RGB", speed=10), 460, id="avif"),
    ],
)
def test_48_megapixels_pass_within_documented_memory(make: Callable[[], bytes], most_mib: int, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(make())
    child = subprocess.run([sys.executable, "-c", PEAK, file], capture_output=True, text=True, check=True)
    width, height, used_mib = map(int, child.stdout.split())
    assert (width, height) == (200, 150)
    assert used_mib <= most_mib
