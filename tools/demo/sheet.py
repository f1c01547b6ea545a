"""The contact sheet: all thumbnails in one picture, their names beneath."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from demo.follow import Course, Stored

_COLUMNS = 7
_PAGE, _CARD, _EDGE = "#eef1f5", "#ffffff", "#d5dbe3"
_NAME, _DETAIL = "#1f2933", "#6b7785"
_LIGHT, _DARK = "#ffffff", "#d9dee5"


def draw(courses: list[Course], thumbnail_px: int) -> Image.Image:
    """The thumbnails of `courses`, each on a card that gives it a square of `thumbnail_px`."""
    card = _Card(thumbnail_px)
    gap = card.margin
    columns, rows = min(_COLUMNS, len(courses)), math.ceil(len(courses) / _COLUMNS)
    page = Image.new("RGB", (columns * (card.width + gap) + gap, rows * (card.height + gap) + gap), _PAGE)
    for index, course in enumerate(courses):
        row, column = divmod(index, _COLUMNS)
        page.paste(card.draw(course), (gap + column * (card.width + gap), gap + row * (card.height + gap)))
    return page


def save_small(sheet: Image.Image, path: Path) -> None:
    """Save for the README, where 256 dithered colours are enough and take a third of the bytes."""
    palette = sheet.quantize(256, Image.Quantize.FASTOCTREE)
    sheet.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


class _Card:
    """A white card: the thumbnail in a square, its name and both sizes below."""

    def __init__(self, thumbnail_px: int) -> None:
        self._px = thumbnail_px
        self.margin = thumbnail_px // 16
        self._name_size, self._detail_size = max(11, thumbnail_px // 14), max(10, thumbnail_px // 17)
        self.width = thumbnail_px + 2 * self.margin
        self.height = thumbnail_px + 3 * self.margin + self._name_size + 3 * self._detail_size

    def draw(self, course: Course) -> Image.Image:
        card = Image.new("RGB", (self.width, self.height), _CARD)
        pen = ImageDraw.Draw(card)
        pen.rectangle((0, 0, self.width - 1, self.height - 1), outline=_EDGE)
        if course.original is not None and course.thumbnail is not None:
            self._paste(card, course.thumbnail)
            top = self._px + 2 * self.margin
            self._write(pen, top, course.item.name, self._name_size, _NAME)
            top += self._name_size + self._detail_size // 3
            self._write(pen, top, _plain(course.original), self._detail_size, _DETAIL)
            top += self._detail_size + self._detail_size // 4
            self._write(pen, top, f"to {_plain(course.thumbnail)}", self._detail_size, _DETAIL)
        return card

    def _paste(self, card: Image.Image, thumbnail: Stored) -> None:
        with Image.open(thumbnail.path) as file:
            picture = file.convert("RGBA")
        picture = Image.alpha_composite(_checkered(picture.size), picture).convert("RGB")
        # Made smaller for a small card; like the job, never larger.
        picture.thumbnail((self._px, self._px), Image.Resampling.LANCZOS)
        left, top = self.margin + (self._px - picture.width) // 2, self.margin + (self._px - picture.height) // 2
        card.paste(picture, (left, top))

    def _write(self, pen: ImageDraw.ImageDraw, top: int, text: str, size: int, colour: str) -> None:
        pen.text((self.width / 2, top), text, colour, ImageFont.load_default(size), anchor="ma")


def _plain(picture: Stored) -> str:
    """Size and format; Pillow's own font has no multiplication sign."""
    return f"{picture.size[0]} x {picture.size[1]} {picture.format}"


def _checkered(size: tuple[int, int], field: int = 10) -> Image.Image:
    """What shows through where a picture is transparent."""
    board = Image.new("RGBA", size, _LIGHT)
    pen = ImageDraw.Draw(board)
    for y in range(0, size[1], field):
        for x in range(y // field % 2 * field, size[0], 2 * field):
            pen.rectangle((x, y, x + field - 1, y + field - 1), fill=_DARK)
    return board
