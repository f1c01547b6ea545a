"""Object storage: one bucket of Cloudflare R2 or any other S3 server."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, cast
from urllib.parse import urlsplit

from keda_jobs.errors import JobError, Misconfigured, Permanent, StoreUnavailable, Transient
from keda_jobs.settings import StoreSettings

if TYPE_CHECKING:
    import aioboto3
    from aiobotocore.config import AioConfig
    from aiobotocore.response import StreamingBody
    from botocore.exceptions import ClientError
    from types_aiobotocore_s3 import S3Client

    from keda_jobs.runtime.metrics import StoreMetrics

# aioboto3 takes half a second of CPU to import. The CLI and the worker processes of `cpu` import this
# module without ever opening a bucket, so the functions that need aioboto3 import it.

_LARGE = 1024 * 1024
_CHUNK = 256 * 1024
_PROBE = "images/keda-jobs-probe"


class ObjectMissing(Transient):
    """The bucket has no object under the key. A few deliveries, because a store may show a new object late."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key}", max_deliveries=3)


class ObjectTooLarge(Permanent):
    """The object is larger than the reader's limit."""


class Bucket(Protocol):
    """Object store as a handler sees it. The fake is `keda_jobs.testing.InMemoryBucket`."""

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Return the object's bytes. Raises `ObjectMissing`, `ObjectTooLarge`, `StoreUnavailable`, `Transient`."""

    async def put(self, key: str, data: bytes | bytearray, *, content_type: str) -> None:
        """Store `data` under `key` and replace what was there. Raises `StoreUnavailable`, `Transient`."""


@dataclass(frozen=True, slots=True)
class S3Timeouts:
    """Limits of one operation in seconds: to connect, between two answers, in all. And the number of attempts."""

    connect_s: float = 5.0
    read_s: float = 20.0
    total_s: float = 60.0
    attempts: int = 3


class S3Bucket:
    """Bucket of `settings`. `async with` opens one client with at most `connections` connections."""

    def __init__(
        self, settings: StoreSettings, connections: int, metrics: StoreMetrics, timeouts: S3Timeouts = S3Timeouts()
    ) -> None:
        self._settings = settings
        self._bucket = settings.r2_bucket
        self._connections = connections
        self._metrics = metrics
        self._timeouts = timeouts
        self._name = f"bucket {self._bucket} at {urlsplit(settings.endpoint_url).netloc.rpartition('@')[2]}"
        self._exit_stack = AsyncExitStack()
        self._client: S3Client

    async def __aenter__(self) -> Self:
        endpoint = self._settings.endpoint_url
        config = _config(endpoint, self._connections, self._timeouts)
        client = _session(self._settings).client("s3", endpoint_url=endpoint, config=config)
        try:
            self._client = await self._exit_stack.enter_async_context(client)
        except ValueError as error:
            raise Misconfigured(f"R2_ENDPOINT_URL: {error}") from error
        _send_bodies_unchanged(self._client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit_stack.aclose()

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Return the object's bytes. Raises `ObjectMissing`, `ObjectTooLarge`, `StoreUnavailable`, `Transient`."""
        async with self._timed_operation("get", key):
            response = await self._client.get_object(Bucket=self._bucket, Key=key)
            async with response["Body"]:
                self._check_etag(response)
                data = await _read(response["Body"], key, response.get("ContentLength"), max_bytes)
        self._metrics.record_bytes("get", len(data))
        return data

    async def put(self, key: str, data: bytes | bytearray, *, content_type: str) -> None:
        """Store `data` under `key` and replace what was there. Raises `StoreUnavailable`, `Transient`."""
        # The client takes bytearrays and readers. Its stubs do not say so.
        body = cast("bytes", data if len(data) <= _LARGE else _Chunks(data))
        async with self._timed_operation("put", key):
            response = await self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)
            self._check_etag(response)
        self._metrics.record_bytes("put", len(data))

    async def check(self) -> None:
        """Prove endpoint, credentials and bucket with one cheap call. Raises `StoreUnavailable`.

        The call asks for a missing object, because Cloudflare refuses HeadBucket to tokens that are limited to objects.
        On AWS the key needs `s3:ListBucket` besides the object permissions. Without it, the answer is 403.
        """
        try:
            await self.get(_PROBE, max_bytes=0)
        except (ObjectMissing, ObjectTooLarge):
            return
        except Transient as error:
            raise StoreUnavailable(str(error)) from error

    @asynccontextmanager
    async def _timed_operation(self, operation: str, key: str) -> AsyncIterator[None]:
        began = time.monotonic()
        # The client's own timeouts do not cover a server that stops reading a body, nor one that drips bytes.
        try:
            async with asyncio.timeout(self._timeouts.total_s):
                yield
        except JobError as error:
            self._metrics.record_operation(operation, _outcome(error), time.monotonic() - began)
            raise
        except Exception as error:
            translated = translate_error(error, self._name, key)
            self._metrics.record_operation(operation, _outcome(translated), time.monotonic() - began)
            raise translated from error
        self._metrics.record_operation(operation, "ok", time.monotonic() - began)

    def _check_etag(self, response: Any) -> None:
        """Raise `StoreUnavailable` for an answer without ETag: a login page or a captive portal says 200 as well."""
        if "ETag" not in response:
            raise StoreUnavailable(f"{self._name} does not answer like an S3 server: check R2_ENDPOINT_URL")


def _outcome(error: JobError) -> str:
    if isinstance(error, ObjectMissing | ObjectTooLarge):  # the store did what it was asked
        return "ok"
    return "unavailable" if isinstance(error, StoreUnavailable) else "failed"


def translate_error(error: Exception, store: str, key: str) -> JobError:
    """Translate an exception of the S3 client. `store` names the bucket and its endpoint.

    Refused credentials, a missing bucket or an unreachable store would affect every message: `StoreUnavailable`. An
    internal error, no answer in time or a broken body may be due to this one object: `Transient`. It uses up
    deliveries, so that one object that the store cannot serve does not hold the job forever.
    """
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return _refusal(error, store, key)
    if isinstance(error, exceptions.ConnectionError | exceptions.ConnectionClosedError):
        cause = _one_line(error.kwargs.get("error", type(error).__name__))
        return StoreUnavailable(f"{store} is unreachable ({cause}): check R2_ENDPOINT_URL and that the store runs")
    if isinstance(error, TimeoutError):
        return Transient(f"{store} did not finish with {key} in time")
    return Transient(f"{store} failed with {key}: {type(error).__name__}: {_one_line(error)}")


def _refusal(error: ClientError, store: str, key: str) -> JobError:
    """Translate an answer of the store other than success."""
    answer = error.response.get("ResponseMetadata", {})
    status = answer.get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "")
    text = _one_line(error.response.get("Error", {}).get("Message", ""))
    if code == "NoSuchBucket":
        return StoreUnavailable(f"there is no {store}: create it or correct R2_BUCKET")
    if code == "RequestTimeTooSkewed":
        return StoreUnavailable(f"{store} refuses the request's time: set the clock of this machine")
    if "html" in answer.get("HTTPHeaders", {}).get("content-type", "") or 300 <= status < 400:
        # A proxy, a login page or an error page in front of the store. The store itself answers in XML.
        return StoreUnavailable(f"{store} does not answer like an S3 server (HTTP {status}): check R2_ENDPOINT_URL")
    if _refuses_credentials(status, code, text):
        return StoreUnavailable(
            f"{store} refuses the credentials ({code}): check R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY, "
            "and that the key may read and write objects in this bucket"
        )
    if status in (429, 503):
        # SlowDown and the like are about the load, not about the object. A retry would come back in three quarters of
        # an hour, while the next messages keep up the load. The store asks for a pause of the loop.
        return StoreUnavailable(f"{store} asks for a pause (HTTP {status} {code})")
    if status == 404 and error.operation_name == "GetObject":
        return ObjectMissing(key)
    return Transient(f"{store} failed with {key}: HTTP {status} {code}: {text}")


def _refuses_credentials(status: int, code: str, text: str) -> bool:
    # AWS says 400 to a stale token; R2 says InvalidArgument to a key of the wrong length.
    stale = code in ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "AuthorizationHeaderMalformed")
    return status in (401, 403) or stale or (code == "InvalidArgument" and text.startswith("Credential"))


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300]


def _session(settings: StoreSettings) -> aioboto3.Session:
    """Create a session that reads nothing but `settings`.

    By default it reads `AWS_*`, `~/.aws` and a cloud's metadata service. A stray profile would stop the job, and a
    stray key would write to another account. `AWS_CA_BUNDLE` still applies, for a store with its own CA.
    """
    import aioboto3
    from aiobotocore.session import AioSession

    variables = {
        name: (None, None, default, convert)
        for name, (_, _, default, convert) in AioSession.SESSION_VARIABLES.items()
        if name != "ca_bundle"
    }
    for file in ("config_file", "credentials_file"):
        variables[file] = (None, None, os.devnull, None)
    return aioboto3.Session(
        aws_access_key_id=settings.r2_access_key_id,
        aws_secret_access_key=settings.r2_secret_access_key.get_secret_value(),
        region_name="auto",
        botocore_session=AioSession(variables),
    )


def _config(endpoint: str, connections: int, timeouts: S3Timeouts) -> AioConfig:
    from aiobotocore.config import AioConfig

    return AioConfig(
        # R2 refuses the checksums that the client sends since botocore 1.36 (HTTP 501).
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version="s3v4",
        # Under TLS a second hash of the body adds no protection and takes a third of a put's CPU time.
        s3={"addressing_style": "path", "payload_signing_enabled": endpoint.startswith("http:")},
        connect_timeout=timeouts.connect_s,
        read_timeout=timeouts.read_s,
        retries={"mode": "standard", "total_max_attempts": timeouts.attempts},
        max_pool_connections=connections,
        # The client builds its own twice for each request.
        user_agent="keda-jobs",
    )


def _send_bodies_unchanged(client: S3Client) -> None:
    # By default each body is copied into a BytesIO, and each put waits a round trip for "100 Continue".
    from botocore.handlers import add_expect_header, convert_body_to_file_like_object

    client.meta.events.unregister("before-call.s3", add_expect_header)
    client.meta.events.unregister("before-parameter-build.s3.PutObject", convert_body_to_file_like_object)


async def _read(body: StreamingBody, key: str, size: int | None, max_bytes: int | None) -> bytes:
    limit = float("inf") if max_bytes is None else max_bytes
    received = io.BytesIO()
    if size is not None and size > limit:
        raise ObjectTooLarge(f"object {key} has {size} bytes, more than {max_bytes}")
    while chunk := await body.read(_CHUNK):
        if received.tell() + len(chunk) > limit:
            raise ObjectTooLarge(f"object {key} has more than {max_bytes} bytes")
        received.write(chunk)
    return received.getvalue()


class _Chunks(io.RawIOBase):
    """Reader of `data` that makes no copy. aiohttp warns about a body over 1 MiB in one piece."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._view = memoryview(data)
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._view[self._position : self._position + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, len(self._view))[whence]
        return self._position

    def tell(self) -> int:
        return self._position
