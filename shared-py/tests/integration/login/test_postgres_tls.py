"""TLS of PostgreSQL: `verify-full` with a private authority, and with the system's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.errors import Misconfigured
from keda_jobs.postgres import open_connection
from keda_jobs.settings import PgSettings
from stack import Authority, Certificate, PostgresServer, until


@pytest.fixture(scope="module")
def encrypted(certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Start a server with TLS, on a port of its own."""
    server = PostgresServer(tmp_path_factory.mktemp("encrypted"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def dsn(encrypted: PostgresServer, certificate: Certificate) -> str:
    await use(encrypted, certificate)
    return encrypted.dsn


async def use(server: PostgresServer, certificate: Certificate) -> None:
    """Let the server show this certificate."""
    connection = await asyncpg.connect(server.dsn, ssl=False)
    try:
        for name, file in (("ssl_cert_file", certificate.certificate), ("ssl_key_file", certificate.key)):
            await connection.execute(f"ALTER SYSTEM SET {name} = '{file}'")
        await connection.execute("ALTER SYSTEM SET ssl = on")
        await connection.execute("SELECT pg_reload_conf()")
        shown = "SELECT current_setting('ssl')::boolean AND current_setting('ssl_cert_file') = $1"
        await until(lambda: connection.fetchval(shown, str(certificate.certificate)))
    finally:
        await connection.close()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the test a home of its own, and no file of an authority."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGSSLROOTCERT", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


async def is_encrypted(dsn: str, query: str) -> bool:
    async with open_connection(PgSettings.model_validate({"pg_dsn": f"{dsn}?{query}"}), name="test") as connection:
        found: bool = await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        return found


async def test_verify_full_trusts_the_authority_that_is_named(
    dsn: str, authority: Authority, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    assert await is_encrypted(dsn, f"sslmode=verify-full&sslrootcert={authority.ca}")
    monkeypatch.setenv("PGSSLROOTCERT", str(authority.ca))
    assert await is_encrypted(dsn, "sslmode=verify-full")
    monkeypatch.delenv("PGSSLROOTCERT")
    (home / ".postgresql").mkdir()
    (home / ".postgresql/root.crt").write_bytes(authority.ca.read_bytes())
    assert await is_encrypted(dsn, "sslmode=verify-full")


async def test_verify_full_alone_means_the_authorities_of_the_system(
    dsn: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for query in ("sslmode=verify-full", "sslmode=verify-full&sslrootcert=system", "sslrootcert=system"):
        with pytest.raises(Misconfigured, match="certificate verify failed"):
            await is_encrypted(dsn, query)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    assert await is_encrypted(dsn, "sslmode=verify-full")


async def test_a_server_of_an_unknown_authority_or_another_host_is_refused(
    dsn: str, authority: Authority, stranger: Authority
) -> None:
    with pytest.raises(Misconfigured, match=r"^PG_DSN: .*certificate verify failed"):
        await is_encrypted(dsn, f"sslmode=verify-full&sslrootcert={stranger.ca}")
    with pytest.raises(Misconfigured, match=r"^PG_DSN: .*certificate verify failed"):
        await is_encrypted(dsn.replace("127.0.0.1", "localhost"), f"sslmode=verify-full&sslrootcert={authority.ca}")


async def test_a_certificate_of_the_past_is_refused(
    encrypted: PostgresServer, authority: Authority, tmp_path: Path
) -> None:
    await use(encrypted, authority.issue("past", days=-1, folder=tmp_path))
    with pytest.raises(Misconfigured, match=r"^PG_DSN: .*certificate has expired"):
        await is_encrypted(encrypted.dsn, f"sslmode=verify-full&sslrootcert={authority.ca}")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("sslmode=require&sslrootcert=system", "the system's certificates need sslmode=verify-full"),
        ("sslmode=verify-ca&sslrootcert=system", "the system's certificates need sslmode=verify-full"),
        (f"sslmode=verify-full&sslrootcert={__file__}", "sslrootcert: .* cannot be read as certificates in PEM format"),
    ],
)
async def test_authorities_that_prove_nothing_are_one_line(query: str, reason: str) -> None:
    with pytest.raises(Misconfigured, match=f"^PG_DSN: {reason}[^\n]*$"):
        await is_encrypted("postgresql://me@127.0.0.1:1/users", query)


async def test_a_file_of_an_authority_that_the_environment_names_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", "/no/ca.pem")
    with pytest.raises(Misconfigured, match=r"^PG_DSN: sslrootcert: there is no file /no/ca.pem$"):
        await is_encrypted("postgresql://me@127.0.0.1:1/users", "sslmode=verify-full")
