"""Contact sheet: all thumbnails in one picture, each with its name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from demo.pictures.progress import Picture, StoredImage

_COLUMNS = 7
_PAGE, _CARD, _EDGE = "#eef1f5", "#ffffff", "#d5dbe3"
_NAME, _DETAIL = "#1f2933", "#6b7785"
_LIGHT, _DARK, _CHECK_PX = 255, 221, 10


def draw(pictures: Sequence[Picture], thumbnail_px: int) -> Image.Image:
    """Draw the thumbnails of `pictures`, each on a card with a square of `thumbnail_px`."""
    cards = [
        _card(picture.event.name, picture.original, picture.thumbnail, thumbnail_px)
        for picture in pictures
        if picture.original is not None and picture.thumbnail is not None
    ]
    gap, (width, height) = thumbnail_px // 16, cards[0].size
    columns, rows = min(_COLUMNS, len(cards)), math.ceil(len(cards) / _COLUMNS)
    page = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), _PAGE)
    for index, card in enumerate(cards):
        row, column = divmod(index, _COLUMNS)
        page.paste(card, (gap + column * (width + gap), gap + row * (height + gap)))
    return page


def save_small(sheet: Image.Image, path: Path) -> None:
    """Save for the README, where 256 dithered colours are enough and take a third of the bytes."""
    palette = sheet.quantize(256, Image.Quantize.FASTOCTREE)
    sheet.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def _card(name: str, original: StoredImage, thumbnail: StoredImage, thumbnail_px: int) -> Image.Image:
    """Draw a white card: the thumbnail in a square, its name and both sizes below."""
    margin, name_px, detail_px = thumbnail_px // 16, max(11, thumbnail_px // 14), max(10, thumbnail_px // 17)
    width, height = thumbnail_px + 2 * margin, thumbnail_px + 3 * margin + name_px + 3 * detail_px
    card = Image.new("RGB", (width, height), _CARD)
    pen = ImageDraw.Draw(card)
    pen.rectangle((0, 0, width - 1, height - 1), outline=_EDGE)
    image = _on_checks(thumbnail.path, thumbnail_px)
    card.paste(image, ((width - image.width) // 2, margin + (thumbnail_px - image.height) // 2))
    # Pillow's own font has no multiplication sign.
    details = f"{original}\nto {thumbnail}".replace("×", " x ")
    name_font, detail_font = ImageFont.load_default(name_px), ImageFont.load_default(detail_px)
    top = thumbnail_px + 2 * margin
    pen.text((width / 2, top), name, _NAME, name_font, "ma")
    top += name_px + detail_px // 3
    pen.text((width / 2, top), details, _DETAIL, detail_font, "ma", spacing=detail_px // 4, align="center")
    return card


def _on_checks(path: Path, most_px: int) -> Image.Image:
    """Return the thumbnail with checks where it is transparent, smaller for a small card but never larger."""
    with Image.open(path) as file:
        image = file.convert("RGBA")
    width, height = image.size
    checks = bytes(
        _DARK if (x // _CHECK_PX + y // _CHECK_PX) % 2 == 0 else _LIGHT for y in range(height) for x in range(width)
    )
    ground = Image.frombytes("L", image.size, checks).convert("RGBA")
    image = Image.alpha_composite(ground, image).convert("RGB")
    image.thumbnail((most_px, most_px), Image.Resampling.LANCZOS)
    return image
