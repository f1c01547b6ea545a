"""Limits on size, time and redirects, and the headers that the client sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from origin_server import PNG, Names, Origin, Reply, answer, fetch, fetching, redirect
from yarl import URL

from image_download import __version__
from image_download.errors import BadAnswer, NetworkTrouble, ResponseTooLarge
from image_download.fetch import _target
from image_download.url import BadUrl
from keda_jobs import Permanent, RetryAfter, Transient

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def endless(first: bytes, piece: bytes, pause_s: float = 0.0) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """Build a reply that sends `first` and then `piece` until the client leaves."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return send


async def test_the_body_of_a_200_is_returned_unchanged() -> None:
    async with Origin(image=answer(PNG)) as origin:
        assert await fetch(origin) == PNG


async def test_a_chunked_body_is_reassembled() -> None:
    async with Origin(image=CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") as origin:
        assert await fetch(origin) == b"abcde"


async def test_the_request_identifies_the_client_and_nothing_else() -> None:
    other = answer(PNG, "Set-Cookie: a=b; Path=/")
    names = Names(site=[["127.0.0.1"]])
    async with Origin(image=redirect("/other"), other=other) as origin, fetching(origin, names=names) as fetcher:
        await fetcher.fetch(origin.url(host="site.test") + "?q=1#fragment")
        await fetcher.fetch(origin.url(host="site.test"))
    lines = [set(request.decode().split("\r\n")) - {""} for request in origin.requests]
    common = {f"Host: site.test:{origin.port}", "Accept: */*", "Accept-Encoding: identity"}
    common.add(f"User-Agent: keda-jobs-image-download/{__version__}")
    assert lines[0] == common | {"GET /image?q=1 HTTP/1.1"}
    assert lines[3] == common | {"GET /other HTTP/1.1"}


async def test_the_user_agent_is_a_setting() -> None:
    contact = "pictures/1.0 (https://example.com/bot; bot@example.com)"
    async with Origin(image=redirect("/other"), other=answer(PNG)) as origin:
        await fetch(origin, download_user_agent=contact)
    assert all(f"\r\nUser-Agent: {contact}\r\n".encode() in request for request in origin.requests)


async def test_redirects_are_followed_up_to_the_limit() -> None:
    async with Origin(image=redirect("/a"), a=redirect("b"), b=answer(PNG)) as origin:
        assert await fetch(origin, download_max_redirects=2) == PNG
        with pytest.raises(BadAnswer, match=f"more than 1 redirects, the last to {origin.url('b')}$"):
            await fetch(origin, download_max_redirects=1)


async def test_a_redirect_loop_is_permanent() -> None:
    async with Origin(image=redirect("/image?again")) as origin:
        with pytest.raises(BadAnswer, match="more than 5 redirects"):
            await fetch(origin)
        assert len(origin.requests) == 6


@pytest.mark.parametrize(
    "location", ["ftp://127.0.0.1/", "file:///etc/passwd", "http://a b/", "http://u:p@127.0.0.1/", "//\xa0/"]
)
async def test_a_redirect_to_an_unacceptable_url_is_permanent(location: str) -> None:
    async with Origin(image=redirect(location)) as origin:
        with pytest.raises(BadUrl, match=f"^{origin.url()}: the URL "):
            await fetch(origin)


async def test_a_redirect_without_location_is_permanent() -> None:
    async with Origin(image=answer(status="302 Found")) as origin:
        with pytest.raises(BadAnswer, match="a redirect without Location"):
            await fetch(origin)


def test_a_downgrade_from_https_to_http_is_not_followed() -> None:
    with pytest.raises(BadAnswer, match=r"^refusing to follow a redirect from https to http://h/a$"):
        _target(URL("https://h/"), "http://h/a?token=secret")
    assert str(_target(URL("https://h/a/b"), "c")) == "https://h/a/c"
    assert str(_target(URL("http://h/"), "https://h/")) == "https://h/"


@pytest.mark.parametrize("status", ["408 T", "425 T", "429 T", "500 E", "502 E", "503 E"])
async def test_a_busy_server_is_retried(status: str) -> None:
    async with Origin(image=answer(PNG, status=status)) as origin:
        with pytest.raises(Transient, match=f"^{origin.url()}: the server answered {status[:3]}$"):
            await fetch(origin, origin.url() + "?token=secret")


@pytest.mark.parametrize("status", ["300 M", "400 B", "401 U", "403 F", "404 N", "410 G"])
async def test_a_status_that_is_no_success_is_permanent_whatever_its_body(status: str) -> None:
    async with Origin(image=answer(PNG, status=status)) as origin:
        with pytest.raises(Permanent, match=f"the server answered {status[:3]}"):
            await fetch(origin)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_that_has_no_body_is_permanent(status: int) -> None:
    async with Origin(image=f"HTTP/1.1 {status} None\r\n\r\n".encode()) as origin:
        with pytest.raises(Permanent, match=f"the server answered {status}"):
            await fetch(origin)


async def test_retry_after_is_passed_on() -> None:
    async with Origin(image=answer(b"", "Retry-After: 7200", status="429 Too Many Requests")) as origin:
        with pytest.raises(RetryAfter) as failed:
            await fetch(origin)
    assert failed.value.delay_s == 7200


async def test_a_declared_size_over_the_limit_is_refused_before_the_body_is_read() -> None:
    async with Origin(image=endless(answer(length=1001), b"x", 0.02)) as origin:
        with pytest.raises(ResponseTooLarge, match="the body has 1001 bytes, more than 1000"):
            await fetch(origin, download_max_bytes=1000)


@pytest.mark.parametrize("first", [CHUNKED, b"HTTP/1.1 200 OK\r\n\r\n"], ids=["chunked", "until the end"])
async def test_a_body_of_undeclared_size_is_cut_off_at_the_limit(first: bytes) -> None:
    piece = b"3e8\r\n" + bytes(1000) + b"\r\n"
    async with Origin(image=endless(first, piece)) as origin:
        with pytest.raises(ResponseTooLarge, match="the body has more than 100000 bytes"):
            await fetch(origin, download_max_bytes=100_000)


async def test_a_body_of_exactly_the_limit_is_accepted() -> None:
    async with Origin(image=answer(bytes(1000))) as origin:
        assert len(await fetch(origin, download_max_bytes=1000)) == 1000


@pytest.mark.parametrize(
    "reply",
    [answer(PNG, length=len(PNG) + 1), CHUNKED + b"ff\r\nabc", CHUNKED + b"3\r\nabc\r\n"],
    ids=["shorter than declared", "inside a chunk", "without the last chunk"],
)
async def test_a_body_that_ends_early_is_retried(reply: bytes) -> None:
    async with Origin(image=reply) as origin:
        with pytest.raises(NetworkTrouble, match="the body ended early"):
            await fetch(origin)


async def test_a_body_longer_than_declared_is_not_accepted() -> None:
    async with Origin(image=answer(PNG + b"more", length=len(PNG))) as origin:
        with pytest.raises(NetworkTrouble, match="the answer is not HTTP") as failed:
            await fetch(origin)
    assert failed.value.max_deliveries == 3


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 41_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 321 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"a" * 40_000 + b"\r\n") * 7 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 100 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        CHUNKED + b"xyz\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["long header", "many headers", "large headers", "negative", "huge", "two lengths", "bad chunk", "no HTTP"],
)
async def test_a_response_that_is_not_http_is_network_trouble_and_the_client_stays_usable(reply: bytes) -> None:
    async with Origin(image=reply, good=answer(PNG)) as origin, fetching(origin) as fetcher:
        with pytest.raises(NetworkTrouble):
            await fetcher.fetch(origin.url())
        assert await fetcher.fetch(origin.url("good")) == PNG


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200"], ids=["nothing", "half a line"])
async def test_a_server_that_closes_the_connection_is_network_trouble(reply: bytes) -> None:
    async with Origin(image=reply) as origin:
        with pytest.raises(NetworkTrouble, match="the server closed the connection"):
            await fetch(origin)


@pytest.mark.parametrize(
    "reply",
    [
        endless(b"", b"", 0.02),
        endless(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a", 0.02),
        endless(answer(length=10_000), b"x", 0.02),
        endless(CHUNKED, b"1\r\nx\r\n", 0.02),
        endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        endless(CHUNKED + b"1;", b"extension" * 1000),
        endless(redirect("/image").removesuffix(b"\r\n\r\n") + b"\r\nX-Slow: ", b"a", 0.02),
    ],
    ids=["silence", "slow header", "slow body", "slow chunks", "endless 103", "chunk extension", "slow redirect"],
)
async def test_the_time_limit_stops_a_response_that_never_ends(reply: Reply) -> None:
    async with Origin(image=reply) as origin:
        with pytest.raises(NetworkTrouble):
            await fetch(origin, download_timeout_s=0.4)


async def test_the_time_limit_covers_all_redirects() -> None:
    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        writer.write(redirect("/image"))

    async with Origin(image=late) as origin:
        with pytest.raises(NetworkTrouble, match=r"not complete after 6 s"):
            await fetch(origin, download_timeout_s=6, download_max_redirects=20)
        assert 2 <= len(origin.requests) < 20


async def test_a_cancelled_fetch_leaves_the_client_usable() -> None:
    slow = endless(answer(length=10_000), b"x", 0.02)
    async with Origin(image=slow, good=answer(PNG)) as origin, fetching(origin) as fetcher:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fetcher.fetch(origin.url()), 0.1)
        assert await fetcher.fetch(origin.url("good")) == PNG
