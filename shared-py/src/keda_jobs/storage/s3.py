"""Bucket of an S3 server: it repeats what failed, and tells a failure of one object from one of the store."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import urlsplit

from keda_jobs.errors import JobError, Misconfigured
from keda_jobs.runtime.backoff import backoff_s
from keda_jobs.settings import StoreSettings
from keda_jobs.storage.bucket import ObjectMissing, ObjectTooLarge
from keda_jobs.storage.client import (
    USUAL_TIMEOUTS,
    Chunks,
    S3Timeouts,
    client_config,
    open_session,
    renew_keys,
    resolve_endpoint_once,
    send_bodies_unchanged,
)
from keda_jobs.storage.failures import (
    NotAnS3Answer,
    is_missing_object,
    is_refused_body,
    object_failure,
    retry_after_s,
    store_failure,
)
from keda_jobs.storage.uploads import Uploads

if TYPE_CHECKING:
    from aiobotocore.response import StreamingBody
    from types_aiobotocore_s3 import S3Client

    from keda_jobs.runtime.metrics import StoreMetrics

_LARGE = 1024 * 1024
_CHUNK = 256 * 1024
_PROBE = "keda-jobs-probe"
# A slot is held meanwhile. A longer Retry-After is waited for without one, as a retry of the message.
_LONGEST_PAUSE_S = 10.0
_OTHER_MD5 = "AAAAAAAAAAAAAAAAAAAAAA=="  # no body is known that has this hash

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Stored object without its bytes. `etag` is a hash of them that stores compute in different ways."""

    key: str
    size: int
    etag: str


class S3Bucket:
    """Bucket of `settings`. `async with` opens one client with at most `connections` connections.

    After each failed attempt it probes the store. While the probe fails, the store is unavailable for everybody:
    `StoreUnavailable`. While the probe succeeds, the failure is the object's: a few more attempts, then `Transient`.
    """

    def __init__(
        self, settings: StoreSettings, connections: int, metrics: StoreMetrics, timeouts: S3Timeouts = USUAL_TIMEOUTS
    ) -> None:
        self._settings = settings
        self._bucket = settings.r2_bucket
        self._connections = connections
        self._metrics = metrics
        self._timeouts = timeouts
        self._name = f"bucket {self._bucket} at {urlsplit(settings.endpoint_url).netloc}"
        self._uploads = Uploads()
        self._session = open_session(settings)
        self._exit_stack = AsyncExitStack()
        self._client: S3Client

    async def __aenter__(self) -> Self:
        endpoint = self._settings.endpoint_url
        config = client_config(endpoint, self._connections, self._timeouts)
        client = self._session.client("s3", endpoint_url=endpoint, config=config)
        try:
            self._client = await self._exit_stack.enter_async_context(client)
        except ValueError as error:
            raise Misconfigured(f"R2_ENDPOINT_URL: {error}") from error
        send_bodies_unchanged(self._client)
        resolve_endpoint_once(self._client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit_stack.aclose()

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Return the object's bytes, as `Bucket.get`. Raises `StoreUnavailable` too."""
        data = await self._repeat("get", key, partial(self._get, key, max_bytes), self.check)
        self._metrics.record_bytes("get", len(data))
        return data

    async def put(self, key: str, data: bytes | bytearray, *, content_type: str) -> None:
        """Store `data`, as `Bucket.put`. Raises `StoreUnavailable` too."""
        await self._uploads.run(key, data, content_type, partial(self._upload, key, data, content_type))

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`. Raises as `pages`."""
        return [one.key async for page in self.pages(prefix) for one in page]

    async def pages(self, prefix: str) -> AsyncGenerator[list[ObjectInfo]]:
        """Yield the objects whose key begins with `prefix`, by key, up to 1000 at once.

        Raises `StoreUnavailable`, `Transient`, `RetryAfter`.
        """
        after: str | None = ""
        while after is not None:
            page, after = await self._repeat("get", prefix, partial(self._page, prefix, after), self.check)
            yield page

    async def info(self, key: str) -> ObjectInfo:
        """Return size and hash of an object. Raises `ObjectMissing`, `StoreUnavailable`, `Transient`, `RetryAfter`."""
        return await self._repeat("get", key, partial(self._info, key), self.check)

    async def part(self, key: str, start: int, size: int) -> bytes:
        """Return `size` bytes of an object from `start` on, fewer at its end. Raises as `info`."""
        data = await self._repeat("get", key, partial(self._part, key, start, size), self.check)
        self._metrics.record_bytes("get", len(data))
        return data

    async def delete(self, key: str) -> None:
        """Delete an object, if it exists. Raises `StoreUnavailable`, `Transient`, `RetryAfter`."""
        await self._repeat("put", key, partial(self._delete, key), partial(self._check_writing, key))

    async def check(self) -> None:
        """Prove endpoint, credentials and bucket with one cheap call. Raises `StoreUnavailable`.

        The call asks for a missing object, because Cloudflare refuses HeadBucket to tokens that are limited to objects.
        On AWS the key needs `s3:ListBucket` besides the object permissions. Without it, the answer is 403.
        """
        await self._probe("get", partial(self._get, f"images/{_PROBE}", 0))

    async def _check_writing(self, key: str) -> None:
        """Prove also that the credentials may write beside `key`. Raises `StoreUnavailable`.

        The right may be limited to a prefix. The put announces a hash that its body does not have: a store checks the
        right first, refuses the body then, and stores nothing.
        """
        await self.check()
        folder, slash, _ = key.rpartition("/")
        await self._probe("put", partial(self._put_refused_body, f"{folder}{slash}{_PROBE}"))

    async def _upload(self, key: str, data: bytes | bytearray, content_type: str) -> None:
        await self._repeat("put", key, partial(self._put, key, data, content_type), partial(self._check_writing, key))
        self._metrics.record_bytes("put", len(data))

    async def _repeat(
        self, operation: str, key: str, call: Callable[[], Awaitable[T]], probe: Callable[[], Awaitable[None]]
    ) -> T:
        """Repeat `call` until it succeeds, or until the failure is the object's or the store's."""
        ends = time.monotonic() + self._timeouts.total_s
        tries = 0
        while True:
            began = time.monotonic()
            try:
                result = await self._attempt(call)
            except JobError:  # a missing or too large object: the store did what it was asked
                self._record(operation, "ok", began)
                raise
            except Exception as error:
                await self._blame(operation, began, probe)
                pause_s = max(retry_after_s(error) or 0.0, backoff_s(tries, max_s=_LONGEST_PAUSE_S))
                tries += 1
                if tries >= self._timeouts.attempts or pause_s > _LONGEST_PAUSE_S or time.monotonic() > ends:
                    raise object_failure(error, self._name, key) from error
                await asyncio.sleep(pause_s)
            else:
                self._record(operation, "ok", began)
                return result

    async def _blame(self, operation: str, began: float, probe: Callable[[], Awaitable[None]]) -> None:
        """Count a failed attempt as the object's, or raise `StoreUnavailable`."""
        failed_after_s = time.monotonic() - began
        try:
            await probe()
        except JobError:
            self._metrics.record_operation(operation, "unavailable", failed_after_s)
            raise
        self._metrics.record_operation(operation, "failed", failed_after_s)

    async def _probe(self, operation: str, call: Callable[[], Awaitable[object]]) -> None:
        # The failure may be a refusal of keys that were replaced meanwhile.
        await renew_keys(self._session, self._settings)
        began = time.monotonic()
        try:
            await self._attempt(call)
        except (ObjectMissing, ObjectTooLarge):
            self._record(operation, "ok", began)
        except Exception as error:
            self._record(operation, "unavailable", began)
            raise store_failure(error, self._name) from error
        else:
            self._record(operation, "ok", began)

    async def _attempt(self, call: Callable[[], Awaitable[T]]) -> T:
        # The client's own timeouts do not cover a server that stops reading a body, nor one that drips bytes.
        async with asyncio.timeout(self._timeouts.total_s):
            return await call()

    async def _get(self, key: str, max_bytes: int | None) -> bytes:
        with _missing(key):
            response = await self._client.get_object(Bucket=self._bucket, Key=key)
        async with response["Body"]:
            _check_etag(response)
            return await _read(response["Body"], key, response.get("ContentLength"), max_bytes)

    async def _put(self, key: str, data: bytes | bytearray, content_type: str) -> None:
        # The client takes bytearrays and readers. Its stubs do not say so.
        body = cast("bytes", data if len(data) <= _LARGE else Chunks(data))
        _check_etag(await self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type))

    async def _page(self, prefix: str, after: str) -> tuple[list[ObjectInfo], str | None]:
        """Return the objects behind the token `after`, and the token of the next page."""
        ask = partial(self._client.list_objects_v2, Bucket=self._bucket, Prefix=prefix)
        answer = await (ask(ContinuationToken=after) if after else ask())
        page = [ObjectInfo(one["Key"], one["Size"], one["ETag"]) for one in answer.get("Contents", ())]
        return page, answer.get("NextContinuationToken")

    async def _info(self, key: str) -> ObjectInfo:
        with _missing(key):
            answer = await self._client.head_object(Bucket=self._bucket, Key=key)
        _check_etag(answer)
        return ObjectInfo(key, answer["ContentLength"], answer["ETag"])

    async def _part(self, key: str, start: int, size: int) -> bytes:
        with _missing(key):
            bounds = f"bytes={start}-{start + size - 1}"
            response = await self._client.get_object(Bucket=self._bucket, Key=key, Range=bounds)
        async with response["Body"]:
            _check_etag(response)
            return await _read(response["Body"], key, response.get("ContentLength"), size)

    async def _delete(self, key: str) -> None:
        await self._client.delete_object(Bucket=self._bucket, Key=key)

    async def _put_refused_body(self, key: str) -> None:
        try:
            _check_etag(await self._client.put_object(Bucket=self._bucket, Key=key, Body=b"", ContentMD5=_OTHER_MD5))
        except Exception as error:
            if not is_refused_body(error):
                raise

    def _record(self, operation: str, outcome: str, began: float) -> None:
        self._metrics.record_operation(operation, outcome, time.monotonic() - began)


@contextmanager
def _missing(key: str) -> Iterator[None]:
    """Raise `ObjectMissing` where the store answers that it has no such object."""
    try:
        yield
    except Exception as error:
        if is_missing_object(error):
            raise ObjectMissing(key) from error
        raise


def _check_etag(response: Any) -> None:
    """Raise `NotAnS3Answer` for an answer without ETag: a login page or a captive portal says 200 as well."""
    if "ETag" not in response:
        raise NotAnS3Answer("an answer without ETag")


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
