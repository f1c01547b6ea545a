"""Baseline: aiohttp and Pillow with nothing around them.

Usage: bare_pictures.py WARM_UP URL...

Prints the CPU time (seconds, user and system) for all but the first WARM_UP pictures.
"""

import asyncio
import sys
import time
from io import BytesIO

from aiohttp import ClientSession
from PIL import Image

SIZE = (200, 200)


async def fetch_and_shrink(session: ClientSession, url: str) -> None:
    async with session.get(url) as response:
        body = await response.read()
    picture = Image.open(BytesIO(body))
    picture.thumbnail(SIZE)
    picture.save(BytesIO(), "JPEG", quality=80)


async def main(warm_up: int, urls: list[str]) -> None:
    async with ClientSession() as session:
        for url in urls[:warm_up]:
            await fetch_and_shrink(session, url)
        began = time.process_time()
        for url in urls[warm_up:]:
            await fetch_and_shrink(session, url)
        print(time.process_time() - began)


asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
