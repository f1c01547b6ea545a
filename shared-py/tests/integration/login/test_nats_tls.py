"""TLS of NATS: a private authority, certificates of clients, and no login that goes out without TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keda_jobs.errors import BrokerUnavailable, Misconfigured
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings, load_settings
from stack import Authority, Certificate, NatsServer, free_port
from stack.ports import HOST

PASSWORD = "sesame"
LOGIN = {"nats_user": "me", "nats_password": PASSWORD}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NatsSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


async def log_in(**fields: object) -> None:
    async with connect(load_settings(NatsSettings, **LOGIN | fields), name="test", wait=False) as connection:
        await connection.jetstream.account_info()


def tls_config(certificate: Certificate, extra: str = "") -> str:
    users = f'authorization {{ users: [{{ user: me, password: "{PASSWORD}" }}] }}'
    return f'tls {{ cert_file: "{certificate.certificate}", key_file: "{certificate.key}", {extra} }}\n{users}'


@pytest.fixture(scope="module")
def encrypted(
    authority: Authority, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NatsServer]:
    """Start a server that asks its clients for a certificate."""
    extra = f'verify: true, ca_file: "{authority.ca}"'
    server = NatsServer(tmp_path_factory.mktemp("encrypted"), extra=tls_config(certificate, extra))
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("scheme", ["nats", "tls"])
async def test_a_server_of_a_private_authority_that_asks_for_a_certificate(
    encrypted: NatsServer, authority: Authority, scheme: str
) -> None:
    mine = authority.issue("client")
    url = encrypted.url.replace("nats:", f"{scheme}:")
    pair = {"nats_tls_cert": mine.certificate, "nats_tls_key": mine.key}
    await log_in(nats_url=url, nats_tls_ca=authority.ca, **pair)


async def test_a_server_of_an_unknown_authority_gets_no_login(
    encrypted: NatsServer, authority: Authority, stranger: Authority
) -> None:
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        await log_in(nats_url=encrypted.url, nats_tls_ca=stranger.ca)
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        await log_in(nats_url=encrypted.url)
    with pytest.raises(BrokerUnavailable):  # it has no certificate of ours
        await log_in(nats_url=encrypted.url, nats_tls_ca=authority.ca)


@pytest.mark.parametrize(
    ("host", "days", "reason"),
    [("DNS:nats.example", 2, "IP address mismatch"), (f"IP:{HOST}", -1, "certificate has expired")],
)
async def test_a_certificate_for_another_host_or_of_the_past_is_refused(
    authority: Authority, tmp_path: Path, host: str, days: int, reason: str
) -> None:
    other = tls_config(authority.issue("other", host, days=days, folder=tmp_path))
    server = NatsServer(tmp_path / "other", extra=other)
    server.start()
    try:
        with pytest.raises(BrokerUnavailable, match=rf"^NATS at .* cannot be reached: .*{reason}"):
            await log_in(nats_url=server.url, nats_tls_ca=authority.ca)
    finally:
        server.kill()


@asynccontextmanager
async def recording_server(scheme: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Stand in for NATS: greet without TLS, as a server without it or somebody in between does, and keep what comes."""
    received: list[bytes] = []
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"auth_required":true}\r\n')
        received.append(await reader.read(4096))
        writer.close()
        await writer.wait_closed()

    port = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield f"{scheme}://127.0.0.1:{port}", received
        await asyncio.gather(*filter(None, serving))


@pytest.mark.parametrize(("scheme", "has_ca"), [("tls", False), ("nats", True)])
async def test_no_login_goes_to_a_server_without_tls_where_tls_is_asked_for(
    authority: Authority, scheme: str, has_ca: bool
) -> None:
    async with recording_server(scheme) as (url, received):
        with pytest.raises(BrokerUnavailable, match=r"the server does not ask for TLS, .* no login was sent"):
            await log_in(nats_url=url, **{"nats_tls_ca": authority.ca} if has_ca else {})
    assert PASSWORD.encode() not in b"".join(received)


async def test_a_certificate_without_its_key_is_one_line(authority: Authority, certificate: Certificate) -> None:
    other = authority.issue("client").key
    with pytest.raises(Misconfigured, match=r"^NATS_TLS_KEY is not set, but NATS_TLS_CERT is$"):
        await log_in(nats_tls_cert=certificate.certificate)
    with pytest.raises(
        Misconfigured, match=r"^/.*server.crt and .*client.key cannot be read as a certificate and its key"
    ):
        await log_in(nats_tls_cert=certificate.certificate, nats_tls_key=other)
