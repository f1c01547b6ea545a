"""Request lines that a real server receives: the path and the query of the URL, byte for byte."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from origin_server import PNG, Origin, answer, fetch, redirect

URL_CHARACTERS = "abcXYZ019-._~:/?[]@!$&'()*+,;="

ESCAPES = st.from_regex("%[0-9a-fA-F]{2}", fullmatch=True)
PIECES = st.one_of(
    st.sampled_from(URL_CHARACTERS), ESCAPES, st.sampled_from(["%", "%%", "%2", "//", "/../", "/./", "&&"])
)
OTHERS = st.sampled_from('"<>^`{|}éß日😀')

SIGNED = [
    "/a%20b%2Fc%3A1.jpg?X-Amz-Credential=AK%2F20261126%2Feu&X-Amz-SignedHeaders=host%3Bx&X-Amz-Signature=0a",
    "/bucket/o%28lder%29/%7efile%2B1.png?GoogleAccessId=x%40y.com&Signature=a%2Bb%2F%3D%3d&Expires=1",
    "/container/a%2525.png?sv=2026-01-01&sr=b&sig=Q%2b%2FzZ%3D&se=2026-11-26T00%3A00%3A00Z&sp=r",
    "/v/a.jpg?Policy=eyJ_~-&Signature=a-b~c__&Key-Pair-Id=K;x=1&&y=+%20&empty=",
    "/image/a(1)[2]'3'!*.jpg?x[]=1&x[]=2&q='a'",
    "/a/./b/../c//d?",
    "/?a=b?c=d/../e&&",
]


async def requested(url_path: str) -> list[str]:
    """Fetch `url_path`, directly and through a redirect, and return the targets that the servers received."""
    async with Origin() as origin:
        url = f"http://{origin.address}{url_path}#fragment"
        origin.replies = defaultdict(lambda: answer(PNG), {"/start": redirect(url)})
        await fetch(origin, url)
        await fetch(origin, origin.url("start"))
        targets = [_target(request) for request in origin.requests]
        targets.remove("/start")
        return targets


def _target(request: bytes) -> str:
    method, target, version = request.partition(b"\r\n")[0].split(b" ")
    assert (method, version) == (b"GET", b"HTTP/1.1")
    return target.decode("ascii")


@pytest.mark.parametrize("target", SIGNED)
async def test_a_signed_url_is_requested_as_it_was_signed(target: str) -> None:
    assert await requested(target) == [target] * 2


@given(st.lists(PIECES, max_size=20).map("".join))
async def test_what_a_url_may_contain_is_requested_unchanged(pieces: str) -> None:
    assert await requested(f"/{pieces}") == [f"/{pieces}"] * 2


@given(st.lists(PIECES | OTHERS, max_size=20))
async def test_only_what_no_url_may_contain_is_escaped(pieces: list[str]) -> None:
    escaped = "".join(piece if piece.isascii() and piece not in '"<>^`{|}' else _percent(piece) for piece in pieces)
    assert await requested(f"/{''.join(pieces)}") == [f"/{escaped}"] * 2


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())
