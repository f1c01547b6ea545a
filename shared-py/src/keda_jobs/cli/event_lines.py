"""Events as lines of text: a JSON object or a plain URL each."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import typer

from keda_jobs.cli.line_ranges import LineRanges
from keda_jobs.domain.event import InvalidEvent, check_strict_json
from keda_jobs.errors import JobError, Misconfigured

_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_MAX_MISTAKES = 20
_BREATH = 1000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def parse_event(text: bytes) -> bytes:
    """Build the body to publish: a JSON object as it is, a URL as `{"url": …}`. Raises `InvalidEvent`."""
    text = text.strip()
    if text.startswith(b"{"):
        check_strict_json(text)
        return text
    url = text.decode(errors="replace")
    if not _URL.fullmatch(url) or "\ufffd" in url:
        raise InvalidEvent("neither a JSON object nor an http(s) URL")
    return json.dumps({"url": url}, ensure_ascii=False).encode()


@contextmanager
def open_lines(name: str) -> Iterator[BinaryIO]:
    """Open the file `name`, or stdin for `-`, so that it can be read twice. Raises `Misconfigured`."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_open(name))
            if name == "-" or not file.seekable():
                file = _copy(file, stack.enter_context(tempfile.TemporaryFile()))
        except OSError as error:
            raise Misconfigured(f"{name}: {error.strerror or error}") from error
        yield file


def _open(name: str) -> BinaryIO:
    return typer.get_binary_stream("stdin") if name == "-" else Path(name).open("rb")


def _copy(source: BinaryIO, target: BinaryIO) -> BinaryIO:
    while chunk := source.read(1 << 20):
        target.write(chunk)
    return target


async def read_events(
    file: BinaryIO, lines: LineRanges, max_bytes: int
) -> AsyncIterator[tuple[int, bytes | InvalidEvent]]:
    """Yield the number of each of `lines`, with its event or its mistake. A line has at most `max_bytes`.

    In between other tasks may run, so that a signal is noticed in a file of any size.
    """
    file.seek(0)
    for number, line in enumerate(_lines(file, max_bytes), 1):
        if number % _BREATH == 0:
            await asyncio.sleep(0)
        text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        if number not in lines or not text.strip() or text.lstrip().startswith(b"#"):
            continue
        try:
            if len(text) > max_bytes:
                raise InvalidEvent(f"longer than the {max_bytes} bytes that the server takes")
            yield number, parse_event(text)
        except InvalidEvent as error:
            yield number, error


def _lines(file: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """Yield the lines. Of one that is too long, little more than `max_bytes` are kept in memory."""
    while line := file.readline(max_bytes + 2):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(1 << 16)
        yield line.rstrip(b"\r\n")


async def check_lines(file: BinaryIO, lines: LineRanges, max_bytes: int) -> int:
    """Count the events of these lines. Raises `JobError`, which names the lines that are none."""
    count, wrong = 0, []
    async for number, event in read_events(file, lines, max_bytes):
        if isinstance(event, InvalidEvent):
            wrong.append(f"line {number}: {event}")
        else:
            count += 1
    if wrong:
        more = [f"and {len(wrong) - _MAX_MISTAKES} more"] if len(wrong) > _MAX_MISTAKES else []
        raise JobError("nothing was published; " + "; ".join(wrong[:_MAX_MISTAKES] + more))
    return count
