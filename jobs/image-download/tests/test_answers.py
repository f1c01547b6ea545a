"""Answers that browsers take although they are not as they should be, and answers that ask to come again."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from origin_server import PNG, Origin, answer, fetch, redirect

from image_download.errors import BadAnswer, NetworkTrouble, ResponseTooLarge
from image_download.guard import ForbiddenAddress
from image_download.status import HttpUnavailable
from keda_jobs import RetryAfter

Pack = Callable[[bytes], bytes]

PAGE = b"<!doctype html><title>please wait</title>"
NO_ENCODINGS = [
    "", "identity", "none", "UTF-8", "aws-chunked", "utf-8,identity", "binary\r\nContent-Encoding: 8bit", "é", ",,",
]  # fmt: skip
ENCODINGS = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "GZIP", "gzip, br"]


def raw_deflate(body: bytes) -> bytes:
    """Compress `body` without the header of zlib."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


async def fetched(reply: bytes, max_bytes: int = 50_000_000) -> bytearray:
    """Return what a fetch makes of `reply`."""
    async with Origin(image=reply) as origin:
        return await fetch(origin, download_max_bytes=max_bytes)


@pytest.mark.parametrize(
    "encoding",
    [*NO_ENCODINGS, *ENCODINGS],
)
async def test_a_plain_picture_is_taken_whatever_content_encoding_says(encoding: str) -> None:
    assert await fetched(answer(PNG, f"Content-Encoding: {encoding}")) == PNG


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZip", gzip.compress),
        ("UTF-8, gzip", gzip.compress),
        ("aws-chunked\r\nContent-Encoding: gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("deflate", gzip.compress),
        ("gzip", lambda body: gzip.compress(body) + b"rubbish"),
    ],
)
async def test_a_compressed_picture_is_unpacked(encoding: str, pack: Pack) -> None:
    picture = PNG + bytes(300_000)
    assert await fetched(answer(pack(picture), f"Content-Encoding: {encoding}")) == picture


@given(st.binary(max_size=300_000), st.sampled_from([gzip.compress, zlib.compress, raw_deflate]), st.integers(1, 9))
async def test_unpacking_gives_back_any_body(body: bytes, pack: Pack, repeat: int) -> None:
    encoding = "gzip" if pack is gzip.compress else "deflate"
    assert await fetched(answer(pack(body * repeat), f"Content-Encoding: {encoding}")) == body * repeat


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
async def test_a_bomb_is_refused_at_the_limit(pack: Pack) -> None:
    with pytest.raises(ResponseTooLarge, match="the body has more than 100000 bytes"):
        await fetched(answer(pack(bytes(10_000_000)), "Content-Encoding: deflate"), max_bytes=100_000)


async def test_a_packed_body_and_its_contents_share_the_limit() -> None:
    reply = answer(gzip.compress(bytes(1000)), "Content-Encoding: gzip")
    packed = len(gzip.compress(bytes(1000)))
    assert await fetched(reply, max_bytes=1000 + packed) == bytes(1000)
    with pytest.raises(ResponseTooLarge):
        await fetched(reply, max_bytes=1000 + packed - 1)


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "dcb", "gzip, gzip", "x\r\nContent-Encoding: br"])
async def test_an_encoding_that_cannot_be_unpacked_is_retried_a_few_times(encoding: str) -> None:
    with pytest.raises(NetworkTrouble, match="the body is encoded") as failed:
        await fetched(answer(gzip.compress(PNG), f"Content-Encoding: {encoding}"))
    assert failed.value.max_deliveries == 3


@pytest.mark.parametrize("body", [PAGE, b"\x1f\x8b\x08\0broken", b"\x1f"])
async def test_a_body_that_is_not_compressed_as_declared_is_retried(body: bytes) -> None:
    with pytest.raises(NetworkTrouble):
        await fetched(answer(body, "Content-Encoding: gzip"))


@pytest.mark.parametrize("size", [1000, 65_536])
async def test_only_the_first_of_several_gzip_members_is_never_taken(size: int) -> None:
    """Also where the second one begins with another piece of 64 KiB."""
    header = b"\x1f\x8b\x08\x08" + bytes(6)  # a file name follows
    first = gzip.compress(PNG)[10:]
    name = b"n" * (size - len(header) - len(first) - 1) + b"\0"
    with pytest.raises(NetworkTrouble, match="several gzip members") as failed:
        await fetched(answer(header + name + first + gzip.compress(PNG), "Content-Encoding: gzip"))
    assert failed.value.max_deliveries == 3


async def test_a_compressed_body_that_ends_early_is_retried() -> None:
    with pytest.raises(NetworkTrouble, match="the body ended early"):
        await fetched(answer(gzip.compress(PNG)[:-9], "Content-Encoding: gzip"))


async def test_large_and_many_header_fields_are_taken() -> None:
    policy = "Content-Security-Policy: default-src " + "https://example.com " * 1900
    assert await fetched(answer(PNG, policy, *[f"X-Field-{number}: {'a' * 500}" for number in range(300)])) == PNG
    assert await fetched(answer(PNG, status="200 " + "O" * 20_000)) == PNG


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 200 OK\r\nX-Folded: a\r\n\tb\r\nContent-Length: {0}\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: {0}\n\n",
        "HTTP/1.1 200\r\nContent-Length: {0}\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: {0}\r\n\r\n",
        "HTTP/1.1 200 é\r\nContent-Type: text/html; charset=klingon\r\nX: \xe9\x01\r\nContent-Length: {0}\r\n\r\n",
        "HTTP/1.1 200 OK\r\nETag: a\r\nETag: b\r\nContent-Type: a/b\r\nContent-Type: c\r\nContent-Length: {0} \r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: {0}\r\n\r\n",
        "HTTP/1.1 200 OK\r\nUpgrade: h2,h2c\r\nConnection: Upgrade\r\nContent-Length: {0}\r\n\r\n",
    ],
    ids=["folded", "bare LF", "no reason", "1.0", "no length", "blank line", "charsets", "twice", "103", "upgrade"],
)
async def test_a_sloppy_header_is_taken(head: str) -> None:
    assert await fetched(head.format(len(PNG)).encode("latin-1") + PNG) == PNG


@pytest.mark.parametrize(
    "status", ["200 OK", "201 Created", "202 Accepted", "203 Non-Authoritative", "218 Fine", "299 X"]
)
async def test_a_picture_is_taken_with_any_success(status: str) -> None:
    assert await fetched(answer(PNG, status=status)) == PNG


async def test_a_part_that_is_the_whole_is_taken() -> None:
    size = len(PNG)
    assert await fetched(answer(PNG, f"Content-Range: bytes 0-{size - 1}/{size}", status="206 Partial")) == PNG


@pytest.mark.parametrize("part", ["Content-Range: bytes 0-107/9999", "Content-Range: bytes 0-107/*", "X: y"])
async def test_any_other_part_is_retried_and_never_taken(part: str) -> None:
    with pytest.raises(NetworkTrouble, match="only a part") as failed:
        await fetched(answer(PNG, part, status="206 Partial"))
    assert failed.value.max_deliveries == 3


@pytest.mark.parametrize(
    ("status", "header", "body"),
    [
        ("202 Accepted", "Retry-After: 7", b""),
        ("202 Accepted", "Retry-After: 7", PNG),
        ("202 Accepted", "Refresh: 7", PAGE),
        ("200 OK", "Retry-After: 7", PAGE),
        ("200 OK", "Refresh: 7", PAGE),
        ("203 Non-Authoritative", "Retry-After: 7", PAGE),
        ("403 Forbidden", "Retry-After: 7", PAGE),
        ("413 Too Large", "Retry-After: 7", b""),
        ("425 Too Early", "Retry-After: 7", b""),
        ("429 Too Many Requests", "Retry-After: 7", PNG),
        ("503 Unavailable", "Refresh: 7", b""),
    ],
)
async def test_an_answer_that_asks_to_come_again_is_a_retry(status: str, header: str, body: bytes) -> None:
    with pytest.raises(RetryAfter, match=f"the server answered {status[:3]}") as failed:
        await fetched(answer(body, header, status=status))
    assert failed.value.delay_s == 7


async def test_a_picture_that_is_not_there_yet_is_a_retry() -> None:
    with pytest.raises(HttpUnavailable, match="the server answered 202"):
        await fetched(answer(PAGE, status="202 Accepted"))


async def test_a_picture_is_taken_although_the_server_also_says_when_to_come_again() -> None:
    assert await fetched(answer(PNG, "Retry-After: 7", "Refresh: 7")) == PNG


@pytest.mark.parametrize(
    "location",
    [" /found", "/found ", "found", "./found#f", "\\found", "\r\nLocation: /found", "/fo\tund", "/x/../found?a b|é"],
)
async def test_a_sloppy_location_is_followed(location: str) -> None:
    async with Origin(start=redirect(location), found=answer(PNG)) as origin:
        assert await fetch(origin, origin.url("start")) == PNG


async def test_the_bytes_of_a_location_that_is_not_utf_8_are_kept() -> None:
    async with Origin(start=redirect("/found?é").decode().encode("latin-1"), found=answer(PNG)) as origin:
        assert await fetch(origin, origin.url("start")) == PNG
        assert origin.requests[1].startswith(b"GET /found?%E9 HTTP/1.1\r\n")


async def test_a_sloppy_location_passes_the_guard() -> None:
    for location in (
        "\\\\10.0.0.1\\x",
        "///10.0.0.1/x",
        "http:////10.0.0.1",
        "HTTP:\\\\10.0.0.1",
        "//[::ffff:10.0.0.1]",
    ):
        with pytest.raises(ForbiddenAddress):
            await fetched(redirect(location))


async def test_a_redirect_with_an_empty_location_is_refused() -> None:
    with pytest.raises(BadAnswer, match="a redirect without Location"):
        await fetched(redirect(""))
