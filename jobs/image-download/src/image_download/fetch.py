"""Fetching the body behind a URL that a stranger chose, within limits of address, size, time and hops."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Self

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    InvalidURL,
    ServerDisconnectedError,
    TCPConnector,
    ThreadedResolver,
)
from aiohttp.abc import AbstractResolver
from yarl import URL

from image_download import __version__
from image_download.guard import ForbiddenAddress, Guard, refusals
from image_download.settings import Settings
from image_download.status import REDIRECTS, failure
from image_download.url import BadUrl, display, parse_url
from keda_jobs import Permanent, Transient
from keda_jobs.errors import JobError

# Causes that seldom pass by themselves get a few tries, not the full three days.
_FEW = 3
_UNKNOWN_HOST = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})

log = logging.getLogger(__name__)


class TooLarge(Permanent):
    """The body is larger than DOWNLOAD_MAX_BYTES."""


class BadAnswer(Permanent):
    """The answer is one that downloads do not follow or read."""


class NetworkTrouble(Transient):
    """The host could not be found or reached, or the answer did not arrive whole and in time."""


class Fetcher:
    """One HTTP client for the life of the job: `async with Fetcher(settings) as fetcher`.

    It sends no cookies, credentials or referrer and takes no proxy from the environment, behind which the guard
    would not see the dials. `resolver` stands for the system's DNS in tests.
    """

    def __init__(self, settings: Settings, *, resolver: AbstractResolver | None = None) -> None:
        self._settings = settings
        self._resolver = resolver

    async def __aenter__(self) -> Self:
        allowed = self._settings.allowed_endpoints
        if allowed:
            pairs = self._settings.download_allow_addresses
            log.warning("DOWNLOAD_ALLOW_ADDRESSES exempts from the address guard: %s", pairs)
        timeout_s = self._settings.download_timeout_s
        self._session = ClientSession(
            # CONCURRENCY bounds the connections; a bound here would let downloads wait inside their time.
            connector=TCPConnector(
                limit=0, resolver=self._resolver or ThreadedResolver(), socket_factory=Guard(allowed).socket
            ),
            headers={"User-Agent": f"keda-jobs-image-download/{__version__}", "Accept-Encoding": "identity"},
            timeout=ClientTimeout(total=None, sock_connect=timeout_s / 6, sock_read=timeout_s / 3),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def fetch(self, text: str) -> bytearray:
        """The body behind the URL in `text`. Raises `Permanent`, `Transient` and `RetryAfter`."""
        url = parse_url(text)
        timeout_s = self._settings.download_timeout_s
        try:
            # The time for all: one byte a second, endless 103s and chunk extensions get past every other timeout.
            async with asyncio.timeout(timeout_s):
                return await self._follow(url)
        except TimeoutError as error:
            raise NetworkTrouble(f"{display(url)}: not complete after {timeout_s:g} s") from error

    async def _follow(self, url: URL) -> bytearray:
        for _ in range(self._settings.download_max_redirects + 1):
            async with self._answer(url) as response:
                if response.status not in REDIRECTS:
                    return await self._read(response)
                url = _target(url, response.headers.get("Location"))
        raise BadAnswer(f"more than {self._settings.download_max_redirects} redirects, the last to {display(url)}")

    @asynccontextmanager
    async def _answer(self, url: URL) -> AsyncIterator[ClientResponse]:
        """The answer to one request; whatever fails while the caller has it becomes a job error that names `url`."""
        with refusals() as refused:
            try:
                async with self._session.get(url, allow_redirects=False) as response:
                    yield response
            except JobError as error:
                error.args = (f"{display(url)}: {error}",)
                raise
            except (ClientError, OSError) as error:
                raise _job_error(error, display(url), refused) from error

    async def _read(self, response: ClientResponse) -> bytearray:
        if response.status != 200:
            raise failure(response.status, response.headers.get("Retry-After"), datetime.now(UTC))
        encodings = ", ".join(response.headers.getall("Content-Encoding", ())).lower()
        if encodings.strip() not in ("", "identity"):
            raise BadAnswer(f"the body is encoded ({encodings[:40]}) though only identity was accepted")
        most = self._settings.download_max_bytes
        if (response.content_length or 0) > most:
            raise TooLarge(f"the body has {response.content_length} bytes, more than {most}")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > most:
                raise TooLarge(f"the body has more than {most} bytes")
        return body


def _target(url: URL, location: str | None) -> URL:
    if location is None:
        raise BadAnswer("a redirect without Location")
    target = parse_url(location, base=url)
    if url.scheme == "https" and target.scheme == "http":
        raise BadAnswer(f"a redirect from https to {display(target)}; a downgrade to http is not followed")
    return target


def _job_error(error: Exception, where: str, refused: list[str]) -> JobError:
    """The job error for a failed request; `refused` are the guard's reasons for the dials it refused."""
    match error:
        case ConnectionTimeoutError() | ClientConnectorError() if refused:
            return ForbiddenAddress(f"{where}: {refused[0]}")
        case ConnectionTimeoutError():
            return NetworkTrouble(f"{where}: no connection in time")
        case InvalidURL():
            return BadUrl(f"{where}: the URL names no valid host")
        case ClientConnectorDNSError(os_error=socket.gaierror(errno=code)) if code in _UNKNOWN_HOST:
            return NetworkTrouble(f"{where}: the host is unknown", max_deliveries=_FEW)
        case ClientConnectorCertificateError():
            return NetworkTrouble(f"{where}: the certificate is not valid", max_deliveries=_FEW)
        case ClientResponseError():
            return NetworkTrouble(
                f"{where}: the answer is not HTTP ({error.message.partition(':')[0]})", max_deliveries=_FEW
            )
        case ServerDisconnectedError():
            return NetworkTrouble(f"{where}: the server hung up")
        case ClientPayloadError():
            return NetworkTrouble(f"{where}: the body broke off")
        case _:
            return NetworkTrouble(f"{where}: {type(error).__name__}: {error}")
