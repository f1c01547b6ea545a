"""Bodies of responses, within the limit on their size, without their Content-Encoding."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable

from aiohttp import ClientResponse

from image_download.errors import FEW_DELIVERIES, NetworkTrouble, ResponseTooLarge
from image_download.sniff import find_image

# Servers also write names that are no encoding, such as `UTF-8` and `aws-chunked`.
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "dcb", "dcz"})
_UNPACKED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP = b"\x1f\x8b"
_PIECE = 64 * 1024


async def read_body(response: ClientResponse, max_bytes: int) -> bytearray:
    """Return the body of `response`. Raises `ResponseTooLarge` and `NetworkTrouble`."""
    if (response.content_length or 0) > max_bytes:
        raise ResponseTooLarge(f"the body has {response.content_length} bytes, more than {max_bytes}")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        _check_size(len(body), max_bytes)
    encodings = _encodings(response.headers.getall("Content-Encoding", ()))
    if not body or not encodings or find_image(body):
        return body
    return await asyncio.to_thread(_unpack, body, encodings, max_bytes)


def _encodings(headers: Iterable[str]) -> list[str]:
    names = [name.strip().lower() for name in ",".join(headers).split(",")]
    return [name for name in names if name in _ENCODINGS]


def _unpack(body: bytearray, encodings: list[str], max_bytes: int) -> bytearray:
    """Unpack `body`. Memory holds both, so they share the limit."""
    if len(encodings) > 1 or encodings[0] not in _UNPACKED:
        names = ", ".join(encodings)[:40]
        raise NetworkTrouble(
            f"the body is encoded ({names}) although the request accepts only identity", max_deliveries=FEW_DELIVERIES
        )
    unpacker = zlib.decompressobj(_window(body, encodings[0]))
    plain = bytearray()
    try:
        for start in range(0, len(body), _PIECE):
            packed = bytes(body[start : start + _PIECE])
            while not unpacker.eof and (piece := unpacker.decompress(packed, _PIECE)):
                plain += piece
                _check_size(len(body) + len(plain), max_bytes)
                packed = unpacker.unconsumed_tail
            if unpacker.eof:
                _check_rest(unpacker.unused_data + body[start + _PIECE : start + _PIECE + 2])
                break
    except zlib.error as error:
        raise NetworkTrouble(f"the body is not {encodings[0]}", max_deliveries=FEW_DELIVERIES) from error
    if not unpacker.eof:
        raise NetworkTrouble("the body ended early")
    return plain


def _check_rest(rest: bytes) -> None:
    """Refuse another gzip member behind the first one. Its picture would be cut, as it is in browsers."""
    if rest.startswith(_GZIP):
        raise NetworkTrouble("the body has several gzip members", max_deliveries=FEW_DELIVERIES)


def _window(body: bytearray, encoding: str) -> int:
    """Return zlib's parameter for `body`. Many servers send deflate without the header of zlib (RFC 1950)."""
    has_gzip_header = body.startswith(_GZIP)
    has_zlib_header = body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
    if encoding == "deflate" and not has_gzip_header and not has_zlib_header:
        return -zlib.MAX_WBITS
    return zlib.MAX_WBITS | 32  # zlib finds out which header


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ResponseTooLarge(f"the body has more than {max_bytes} bytes")
