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
_LIGHT, _DARK = "#ffffff", "#d9dee5"
_CHECK_PX = 10


def draw(pictures: Sequence[Picture], thumbnail_px: int) -> Image.Image:
    """Draw the thumbnails of `pictures`, each on a card with a square of `thumbnail_px`."""
    cards = [_card(picture, thumbnail_px) for picture in pictures]
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


def _card(picture: Picture, thumbnail_px: int) -> Image.Image:
    """Draw a white card: the thumbnail in a square, its name and both sizes below."""
    margin, name_px, detail_px = thumbnail_px // 16, max(11, thumbnail_px // 14), max(10, thumbnail_px // 17)
    width, height = thumbnail_px + 2 * margin, thumbnail_px + 3 * margin + name_px + 3 * detail_px
    card = Image.new("RGB", (width, height), _CARD)
    pen = ImageDraw.Draw(card)
    pen.rectangle((0, 0, width - 1, height - 1), outline=_EDGE)
    if picture.original is None or picture.thumbnail is None:
        return card
    image = _on_checks(picture.thumbnail, thumbnail_px)
    card.paste(image, ((width - image.width) // 2, margin + (thumbnail_px - image.height) // 2))
    top = thumbnail_px + 2 * margin
    for text, size, colour, space in (
        (picture.event.name, name_px, _NAME, detail_px // 3),
        (_ascii(picture.original), detail_px, _DETAIL, detail_px // 4),
        (f"to {_ascii(picture.thumbnail)}", detail_px, _DETAIL, 0),
    ):
        pen.text((width / 2, top), text, colour, ImageFont.load_default(size), anchor="ma")
        top += size + space
    return card


def _on_checks(thumbnail: StoredImage, most_px: int) -> Image.Image:
    """Return the thumbnail with checks where it is transparent, smaller for a small card but never larger."""
    with Image.open(thumbnail.path) as file:
        image = file.convert("RGBA")
    image = Image.alpha_composite(_checks(image.size), image).convert("RGB")
    image.thumbnail((most_px, most_px), Image.Resampling.LANCZOS)
    return image


def _checks(size: tuple[int, int]) -> Image.Image:
    board = Image.new("RGBA", size, _LIGHT)
    pen = ImageDraw.Draw(board)
    for y in range(0, size[1], _CHECK_PX):
        for x in range(y // _CHECK_PX % 2 * _CHECK_PX, size[0], 2 * _CHECK_PX):
            pen.rectangle((x, y, x + _CHECK_PX - 1, y + _CHECK_PX - 1), fill=_DARK)
    return board


def _ascii(image: StoredImage) -> str:
    """Format size and format without the multiplication sign, which Pillow's own font has not."""
    return str(image).replace("×", " x ")
