"""HTTP client for URLs that strangers choose, with limits on addresses, size, time and redirects."""

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
)
from aiohttp.abc import AbstractResolver
from yarl import URL

from image_download.body import read_body
from image_download.errors import FEW_DELIVERIES, BadAnswer, NetworkTrouble
from image_download.guard import Dials, ForbiddenAddress, Guard, observed_dials
from image_download.names import Resolver
from image_download.settings import Settings
from image_download.sniff import find_image
from image_download.status import REDIRECTS, failure, has_body, is_whole, requested_delay_s
from image_download.url import BadUrl, display, parse_url, resolve
from keda_jobs.errors import JobError

# Browsers take 256 KiB of header fields. Until they are refused, the parser holds up to 13 MB, in Python 65 MB.
_MAX_FIELD = 40 * 1024
_MAX_FIELDS = 320
_MAX_HEADER = 256 * 1024
_UNKNOWN_HOST = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})

log = logging.getLogger(__name__)


class Fetcher:
    """HTTP client for the life of the job: `async with Fetcher(settings) as fetcher`.

    It sends no cookies, credentials or referrer. It ignores proxies in the environment: behind one, the guard would
    not see the addresses. Tests replace the system's DNS with `resolver`.
    """

    def __init__(self, settings: Settings, *, resolver: AbstractResolver | None = None) -> None:
        self._settings = settings
        self._resolver = resolver or Resolver(settings.concurrency)

    async def __aenter__(self) -> Self:
        allowed = self._settings.allowed_endpoints
        if allowed:
            pairs = self._settings.download_allow_addresses
            log.warning("DOWNLOAD_ALLOW_ADDRESSES exempts these addresses from the guard: %s", pairs)
        timeout_s = self._settings.download_timeout_s
        self._session = ClientSession(
            # CONCURRENCY limits the connections. A limit here would let downloads wait inside their own time limit.
            connector=TCPConnector(limit=0, resolver=self._resolver, socket_factory=Guard(allowed).socket),
            headers={"User-Agent": self._settings.download_user_agent, "Accept-Encoding": "identity"},
            timeout=ClientTimeout(total=None, sock_connect=timeout_s / 6, sock_read=timeout_s / 3),
            max_line_size=_MAX_FIELD,
            max_field_size=_MAX_FIELD,
            max_headers=_MAX_FIELDS,
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def fetch(self, text: str) -> bytearray:
        """Return the body behind the URL in `text`. Raises `Permanent`, `Transient` and `RetryAfter`."""
        url = parse_url(text)
        timeout_s = self._settings.download_timeout_s
        try:
            # One limit for everything: a byte a second, endless 103s and chunk extensions pass every other timeout.
            async with asyncio.timeout(timeout_s):
                return await self._follow(url)
        except TimeoutError as error:
            raise NetworkTrouble(f"{display(url)}: not complete after {timeout_s:g} s") from error

    async def _follow(self, url: URL) -> bytearray:
        for _ in range(self._settings.download_max_redirects + 1):
            async with self._request(url) as response:
                if response.status not in REDIRECTS:
                    return await self._read(response)
                url = _target(url, next(filter(None, response.headers.getall("Location", ())), None))
        raise BadAnswer(f"more than {self._settings.download_max_redirects} redirects, the last to {display(url)}")

    @asynccontextmanager
    async def _request(self, url: URL) -> AsyncIterator[ClientResponse]:
        """Yield the response to one request, and turn every failure until the block ends into a job error."""
        with observed_dials() as dials:
            try:
                async with self._session.get(url, allow_redirects=False) as response:
                    _check_header(response)
                    yield response
            except JobError as error:
                error.args = (f"{display(url)}: {error}",)
                raise
            except (ClientError, OSError) as error:
                raise _job_error(error, display(url), dials) from error

    async def _read(self, response: ClientResponse) -> bytearray:
        status, delay_s = response.status, requested_delay_s(response.headers, datetime.now(UTC))
        if not has_body(status) or (status == 202 and delay_s is not None):
            raise failure(status, delay_s)
        if not is_whole(status, response.headers.get("Content-Range")):
            raise NetworkTrouble("the server sent only a part of the body", max_deliveries=FEW_DELIVERIES)
        body = await read_body(response, self._settings.download_max_bytes)
        if (status == 202 or delay_s is not None) and not find_image(body):
            raise failure(status, delay_s)
        return body


def _check_header(response: ClientResponse) -> None:
    size = sum(len(name) + len(value) for name, value in response.raw_headers)
    if size > _MAX_HEADER:
        raise NetworkTrouble(f"the header has {size} bytes, more than {_MAX_HEADER}", max_deliveries=FEW_DELIVERIES)


def _target(url: URL, location: str | None) -> URL:
    if location is None:
        raise BadAnswer("a redirect without Location")
    target = resolve(location, url)
    if url.scheme == "https" and target.scheme == "http":
        raise BadAnswer(f"refusing to follow a redirect from https to {display(target)}")
    return target


def _job_error(error: Exception, where: str, dials: Dials) -> JobError:
    """Build the job error for a failed request. It is a refusal only if the guard refused every address."""
    match error:
        case ClientConnectorError() if dials.refusals and not dials.allowed:
            return ForbiddenAddress(f"{where}: {dials.refusals[0]}")
        case ConnectionTimeoutError():
            return NetworkTrouble(f"{where}: connecting timed out")
        case InvalidURL():
            return BadUrl(f"{where}: the URL has no valid host")
        case ClientConnectorDNSError(os_error=socket.gaierror(errno=code)) if code in _UNKNOWN_HOST:
            return NetworkTrouble(f"{where}: the host is unknown", max_deliveries=FEW_DELIVERIES)
        case ClientConnectorCertificateError():
            return NetworkTrouble(f"{where}: the certificate is not valid", max_deliveries=FEW_DELIVERIES)
        case ClientResponseError():
            return NetworkTrouble(
                f"{where}: the answer is not HTTP ({error.message.partition(':')[0]})", max_deliveries=FEW_DELIVERIES
            )
        case ServerDisconnectedError():
            return NetworkTrouble(f"{where}: the server closed the connection")
        case ClientPayloadError():
            return NetworkTrouble(f"{where}: the body ended early")
        case _:
            return NetworkTrouble(f"{where}: {type(error).__name__}: {error}")
