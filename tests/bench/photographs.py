"""Pictures as expensive as photographs: soft shapes, and detail that is fainter the finer it is."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageOps

SIZE = (2000, 1000)
# Chosen for about 300 kB a picture.
_QUALITY = 82
_SCENE = (3000, 2000)
# Cells across the scene, and how much of the picture they make.
_LIGHT = ((6, 1.0), (18, 0.45), (60, 0.3), (180, 0.15), (600, 0.07), (1800, 0.02))
_COLOUR = ((6, 1.0), (24, 0.4), (120, 0.2))


def draw(count: int, folder: Path) -> None:
    """Draw `count` different JPEGs of `SIZE`, the same ones in each call."""
    folder.mkdir()
    chance = random.Random(2000)
    blue, red = (_layers(chance, _COLOUR).point(lambda value: 128 + (value - 128) // 3) for _ in range(2))
    scene = Image.merge("YCbCr", (_layers(chance, _LIGHT), blue, red)).convert("RGB")
    for number in range(count):
        left, top = (chance.randrange(whole - part) for whole, part in zip(_SCENE, SIZE, strict=True))
        part = scene.crop((left, top, left + SIZE[0], top + SIZE[1]))
        part.save(folder / f"{number}.jpg", "JPEG", quality=_QUALITY)


def _layers(chance: random.Random, layers: tuple[tuple[int, float], ...]) -> Image.Image:
    blended = Image.new("L", _SCENE)
    for across, share in layers:
        down = across * _SCENE[1] // _SCENE[0]
        cells = Image.frombytes("L", (across, down), chance.randbytes(across * down))
        blended = Image.blend(blended, cells.resize(_SCENE, Image.Resampling.BICUBIC), share)
    return ImageOps.autocontrast(blended, cutoff=1)
