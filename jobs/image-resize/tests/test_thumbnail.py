"""Thumbnails of every format and orientation."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from pictures import BLUE, CORNERS, RED, close, encode, opened, quadrants, thumbnail
from PIL import Image, ImageCms, PngImagePlugin

from image_resize import resize
from image_resize.resize import FORMATS, fitted

OUTPUT = {
    "JPEG": ("jpg", "image/jpeg", "JPEG"),
    "PNG": ("png", "image/png", "PNG"),
    "GIF": ("png", "image/png", "PNG"),
    "WEBP": ("webp", "image/webp", "WEBP"),
    "BMP": ("png", "image/png", "PNG"),
    "TIFF": ("png", "image/png", "PNG"),
    "AVIF": ("avif", "image/avif", "AVIF"),
}


@pytest.mark.parametrize(
    ("size", "max_px", "expected"),
    [
        ((2000, 1000), 200, (200, 100)),
        ((1000, 2000), 200, (100, 200)),
        ((301, 300), 200, (200, 199)),
        ((200, 200), 200, (200, 200)),
        ((16, 9), 200, (16, 9)),
        ((1, 1), 200, (1, 1)),
        ((10000, 1), 200, (200, 1)),
        ((1, 10000), 200, (1, 200)),
        ((65500, 3), 200, (200, 1)),
        ((640, 480), 64, (64, 48)),
        ((640, 480), 1, (1, 1)),
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_fits_into_the_square_and_is_never_enlarged(
    size: tuple[int, int], max_px: int, expected: tuple[int, int], file_format: str
) -> None:
    assert opened(encode(Image.new("RGB", size, RED), file_format), max_px).size == expected


def test_a_picture_that_fits_keeps_its_pixels() -> None:
    original = quadrants(200, 120)
    assert opened(encode(original, "PNG")).tobytes() == original.tobytes()


def test_proportions_are_those_of_the_original_not_of_the_scaled_decoding() -> None:
    # A quarter of it is 400 x 259 after rounding up, which would give 130.
    assert opened(encode(Image.new("RGB", (1600, 1033)), "JPEG")).size == fitted(1600, 1033, 200) == (200, 129)


@pytest.mark.parametrize("file_format", FORMATS)
def test_each_format_becomes_its_documented_one(file_format: str) -> None:
    data = encode(quadrants(800, 400), file_format)
    result = thumbnail(data)
    image = Image.open(BytesIO(result.data))
    assert (result.ext, result.content_type, image.format) == OUTPUT[file_format]
    assert image.size == (result.width, result.height) == (200, 100)
    assert close(image, CORNERS)


def test_a_picture_of_several_jpegs_is_a_jpeg() -> None:
    data = encode(quadrants(800, 400), "MPO", save_all=True, append_images=[Image.new("RGB", (800, 400))])
    result = thumbnail(data)
    assert result.ext == "jpg"
    assert close(Image.open(BytesIO(result.data)), CORNERS)


@pytest.mark.parametrize("size", [(450, 300), (2400, 1600)])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied(file_format: str, orientation: int, size: tuple[int, int]) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    if size[0] > 1000 and file_format != "JPEG":
        size = (600, 400)
    upright = quadrants(*size)
    stored = upright if orientation == 1 else upright.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = opened(encode(stored, file_format, exif=exif))
    assert image.size == (200, 133)
    assert close(image, CORNERS)
    assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x" * 50]
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_is_ignored(file_format: str, exif: bytes) -> None:
    assert close(opened(encode(quadrants(400, 400), file_format, exif=exif)), CORNERS)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_metadata_is_stripped(file_format: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET-DESCRIPTION"
    exif.get_ifd(0x8825)[1] = "SECRET-GPS"
    options: dict[str, Any] = {
        "exif": exif,
        "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "dpi": (72, 72),
    }
    if file_format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", "SECRET-TEXT")
        options["pnginfo"] = text
    else:
        options["xmp"] = b"<x:xmpmeta>SECRET-XMP</x:xmpmeta>"
    if file_format == "JPEG":
        options["comment"] = b"SECRET-COMMENT"
    data = encode(quadrants(300, 300), file_format, **options)
    assert b"SECRET" in data
    result = thumbnail(data)
    assert b"SECRET" not in result.data
    image = Image.open(BytesIO(result.data))
    image.load()
    assert not {"exif", "icc_profile", "xmp", "comment", "dpi"} & image.info.keys()


def test_bytes_after_the_picture_are_removed() -> None:
    data = encode(quadrants(100, 100), "PNG") + b"<script>SECRET</script>"
    assert b"SECRET" not in thumbnail(data).data


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_an_animation_gives_its_first_frame(file_format: str) -> None:
    more = [Image.new("RGB", (400, 400), colour) for colour in (RED, BLUE)]
    image = opened(encode(quadrants(400, 400), file_format, save_all=True, append_images=more))
    assert getattr(image, "n_frames", 1) == 1
    assert close(image, CORNERS)


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_picture_gives_the_same_bytes(file_format: str) -> None:
    data = encode(quadrants(700, 500), file_format)
    assert thumbnail(data) == thumbnail(data)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("size", [(1913, 1201), (3, 4000), (4000, 3)])
def test_working_in_bands_gives_the_same_picture(
    file_format: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(quadrants(*size), file_format)
    monkeypatch.setattr(resize, "_BAND_PIXELS", 10**9)
    whole = thumbnail(data)
    monkeypatch.setattr(resize, "_BAND_PIXELS", 20_000)
    assert thumbnail(data) == whole


def test_scaled_decoding_looks_like_full_decoding() -> None:
    picture = Image.effect_mandelbrot((2000, 1000), (-2.5, -1.2, 1.5, 1.2), 60).convert("RGB")
    fine = picture.resize((200, 100), Image.Resampling.LANCZOS)
    result = opened(encode(picture, "JPEG", quality=95))
    differences = [abs(a - b) for a, b in zip(result.tobytes(), fine.tobytes(), strict=True)]
    assert sum(differences) / len(differences) < 4
