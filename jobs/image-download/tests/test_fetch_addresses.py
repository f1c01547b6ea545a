"""Only allowed addresses are connected to: a canary that is not allowed must never see a connection."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientConnectorCertificateError
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.test_utils import unused_port
from origin_server import PNG, Names, Origin, answer, dials, fetch, fetching, redirect, settings

from image_download.errors import NetworkTrouble
from image_download.fetch import Fetcher, _job_error
from image_download.guard import Dials, ForbiddenAddress
from image_download.url import BadUrl
from keda_jobs import Permanent

LOOPBACK_SPELLED = [
    "127.0.0.1", "localhost", "LOCALHOST", "0x7f000001", "0x7f.0.0.1", "127.000.000.1", "2130706433", "017700000001",
    "0177.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "①②⑦.⓪.⓪.①", "127。0。0。1", "127.0.0.1.", "[::1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "[::ffff:0:127.0.0.1]",
]  # fmt: skip


@asynccontextmanager
async def canary() -> AsyncIterator[Origin]:
    """Yield a forbidden server and check at the end that nobody tried to connect to it."""
    with dials() as dialled:
        async with Origin(image=answer(PNG)) as origin:
            yield origin
            assert origin.connections == 0
            assert origin.port not in {port for _, port in dialled}


@pytest.mark.parametrize("host", LOOPBACK_SPELLED)
async def test_loopback_in_any_notation_is_refused_permanently(host: str) -> None:
    async with canary() as forbidden, fetching() as fetcher:
        with pytest.raises((ForbiddenAddress, BadUrl)):
            await fetcher.fetch(forbidden.url(host=host))


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "192.168.0.1", "100.100.100.200", "[fd00:ec2::254]"])
async def test_a_private_or_metadata_address_is_refused_on_the_web_ports(host: str) -> None:
    async with fetching() as fetcher:
        with dials() as dialled, pytest.raises(ForbiddenAddress, match="is not a public address"):
            await fetcher.fetch(f"http://{host}/latest/meta-data")
        assert dialled == []


async def test_a_public_address_is_refused_on_other_ports() -> None:
    async with fetching() as fetcher:
        with dials() as dialled, pytest.raises(ForbiddenAddress, match="port 22 is neither 80 nor 443"):
            await fetcher.fetch("http://8.8.8.8:22/")
        assert dialled == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_to_a_forbidden_address_is_refused(status: str) -> None:
    async with canary() as forbidden, Origin(image=redirect(forbidden.url(), status)) as origin:
        with pytest.raises(ForbiddenAddress, match=r"127\.0\.0\.1 is not a public address"):
            await fetch(origin)
        assert origin.connections == 1


async def test_a_redirect_to_another_host_of_the_same_canary_is_refused_at_every_hop() -> None:
    async with canary() as forbidden, Origin() as origin:
        origin.replies = {"/image": redirect("/second"), "/second": redirect(f"//localhost:{forbidden.port}/image")}
        with pytest.raises(ForbiddenAddress):
            await fetch(origin)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["10.0.0.1", "fd00::1", "127.0.0.1"], ["127.0.0.1"] * 20, ["evil"]],
)
async def test_a_name_with_only_forbidden_addresses_is_refused(addresses: list[str]) -> None:
    async with canary() as forbidden, fetching(names=Names(evil=[addresses])) as fetcher:
        with dials() as dialled, pytest.raises(ForbiddenAddress):
            await fetcher.fetch(forbidden.url(host="evil.test"))
        assert dialled == []


async def test_only_the_allowed_address_of_a_name_is_connected_to() -> None:
    async with Origin(image=answer(PNG)) as origin:
        names = Names(mixed=[["10.0.0.1", "::1", "127.0.0.1", "127.0.0.2"]])
        async with fetching(origin, names=names) as fetcher:
            with dials() as dialled:
                assert await fetcher.fetch(origin.url(host="mixed.test")) == PNG
            assert dialled == [("127.0.0.1", origin.port)]


@pytest.mark.parametrize("addresses", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "::1", "127.0.0.1"]])
async def test_a_refused_address_alongside_one_that_is_down_is_a_retry(addresses: list[str]) -> None:
    closed = unused_port()
    fields = {"download_allow_addresses": f"127.0.0.1:{closed}"}
    async with fetching(names=Names(mixed=[addresses]), **fields) as fetcher:
        with dials() as dialled, pytest.raises(NetworkTrouble) as failed:
            await fetcher.fetch(f"http://mixed.test:{closed}/")
    assert failed.value.max_deliveries is None
    assert set(dialled) == {("127.0.0.1", closed)}


async def test_a_refusal_at_one_redirect_does_not_change_the_failure_of_the_next() -> None:
    closed = unused_port()
    async with Origin(image=redirect(f"http://127.0.0.1:{closed}/")) as origin:
        allowed = f"{origin.address},127.0.0.1:{closed}"
        names = Names(mixed=[["10.0.0.1", "127.0.0.1"]])
        async with fetching(names=names, download_allow_addresses=allowed) as fetcher:
            with pytest.raises(NetworkTrouble):
                await fetcher.fetch(origin.url(host="mixed.test"))


async def test_a_name_that_changes_its_answer_is_checked_again_at_every_connection() -> None:
    async with canary() as forbidden, Origin() as origin:
        origin.replies["/image"] = redirect(f"http://rebind.test:{forbidden.port}/image")
        names = Names(rebind=[["127.0.0.1"], ["::ffff:127.0.0.1"]])
        async with fetching(origin, names=names) as fetcher:
            with pytest.raises(ForbiddenAddress):
                await fetcher.fetch(origin.url(host="rebind.test"))
        assert origin.connections == 1


async def test_a_name_that_changes_its_answer_between_two_fetches_is_refused_the_second_time() -> None:
    async with Origin(image=answer(PNG, "Connection: close")) as origin:
        names = Names(rebind=[["127.0.0.1"], ["127.0.0.2"]])
        async with fetching(origin, names=names) as fetcher:
            assert await fetcher.fetch(origin.url(host="rebind.test")) == PNG
        async with fetching(origin, names=names) as fetcher:
            with dials() as dialled, pytest.raises(ForbiddenAddress):
                await fetcher.fetch(origin.url(host="rebind.test"))
            assert dialled == []


async def test_a_refusal_is_permanent_and_not_a_network_error() -> None:
    assert issubclass(ForbiddenAddress, Permanent)
    assert not issubclass(ForbiddenAddress, OSError)


async def test_a_proxy_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with canary() as forbidden, Origin(image=answer(PNG)) as origin:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, forbidden.url(""))
        assert await fetch(origin) == PNG


async def test_exempt_addresses_are_logged_at_start(caplog: pytest.LogCaptureFixture) -> None:
    async with Origin() as origin, fetching(origin):
        assert f"DOWNLOAD_ALLOW_ADDRESSES exempts these addresses from the guard: {origin.address}" in caplog.text
        assert caplog.records[0].levelno == logging.WARNING


async def test_nothing_is_logged_when_nothing_is_exempt(caplog: pytest.LogCaptureFixture) -> None:
    async with fetching():
        assert caplog.records == []


async def test_an_unknown_host_gets_a_few_attempts() -> None:
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    async with fetching(names=Names(gone=[unknown])) as fetcher:
        with pytest.raises(NetworkTrouble, match=r"^http://gone\.test/a: the host is unknown") as failed:
            await fetcher.fetch("http://gone.test/a?token=secret")
    assert failed.value.max_deliveries == 3


async def test_a_failing_dns_server_gets_all_attempts() -> None:
    trouble = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    async with fetching(names=Names(gone=[trouble])) as fetcher:
        with pytest.raises(NetworkTrouble) as failed:
            await fetcher.fetch("http://gone.test/")
    assert failed.value.max_deliveries is None


async def test_a_refused_connection_gets_all_attempts() -> None:
    closed = unused_port()
    with pytest.raises(NetworkTrouble) as failed:
        async with Fetcher(settings(download_allow_addresses=f"127.0.0.1:{closed}")) as fetcher:
            await fetcher.fetch(f"http://127.0.0.1:{closed}/?token=secret")
    assert failed.value.max_deliveries is None
    assert "secret" not in str(failed.value)


def test_an_invalid_certificate_gets_a_few_attempts() -> None:
    key = ConnectionKey("h", 443, True, True, None, None, None, None)
    expired = ClientConnectorCertificateError(key, ssl.SSLCertVerificationError("certificate has expired"))
    failed = _job_error(expired, "https://h/", Dials(refusals=["10.0.0.1 is not a public address"], allowed=1))
    assert isinstance(failed, NetworkTrouble)
    assert failed.max_deliveries == 3


async def test_tls_to_a_plain_http_server_is_network_trouble() -> None:
    async with Origin() as origin, fetching(origin, download_timeout_s=18) as fetcher:
        with pytest.raises(NetworkTrouble) as failed:
            await fetcher.fetch(origin.url().replace("http:", "https:"))
    assert isinstance(failed.value.__cause__, ssl.SSLError | OSError)
