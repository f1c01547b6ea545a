"""S3Bucket with a real S3 server, and with a stand-in for responses that no healthy server gives."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from aiohttp import web

from keda_jobs.errors import JobError, Misconfigured, StoreUnavailable, Transient
from keda_jobs.runtime.metrics import JobRegistry, StoreMetrics
from keda_jobs.settings import StoreSettings, load_settings
from keda_jobs.storage import Bucket, ObjectMissing, ObjectTooLarge, S3Bucket, S3Timeouts
from stack import S3Server, free_port

SECRET = "the-secret-that-nobody-may-read"
ONCE = S3Timeouts(attempts=1)
HASTY = S3Timeouts(connect_s=3, read_s=2, total_s=4, attempts=1)
DEADLINE_S = 30.0
MIB = 1024 * 1024
UNCOUNTED = StoreMetrics(JobRegistry("pictures"))

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def settings(url: str, *, key: str = "access-key", secret: str = SECRET, bucket: str = "pictures") -> StoreSettings:
    return StoreSettings.model_validate(
        {"r2_endpoint_url": url, "r2_access_key_id": key, "r2_secret_access_key": secret, "r2_bucket": bucket}
    )


def settings_of(server: S3Server, **changes: str) -> StoreSettings:
    values = {name.lower(): value for name, value in server.environment().items()}
    return StoreSettings.model_validate(values | changes)


@pytest.fixture
async def bucket(s3_server: S3Server) -> AsyncIterator[S3Bucket]:
    async with S3Bucket(settings_of(s3_server), connections=16, metrics=UNCOUNTED) as bucket:
        yield bucket


async def refused(attempt: Awaitable[object]) -> JobError:
    """Return the error of `attempt`. It may not show the secret or take more than one line."""
    with pytest.raises(JobError) as caught:
        await attempt
    texts = [str(error) for error in (caught.value, caught.value.__cause__)]
    assert not any(SECRET in text for text in texts)
    assert "\n" not in texts[0]
    return caught.value


@pytest.mark.parametrize("kind", [bytes, bytearray])
async def test_a_get_returns_what_was_put(bucket: S3Bucket, kind: type[bytes | bytearray]) -> None:
    store: Bucket = bucket
    for size in (0, 1, 300_000, MIB, MIB + 1, 3 * MIB):
        data = hashlib.shake_128(b"picture").digest(size)
        await store.put("images/ä b+c.jpg", kind(data), content_type="image/jpeg")
        found = await store.get("images/ä b+c.jpg")
        assert type(found) is bytes
        assert found == data


async def test_many_objects_come_in_pages_by_key(bucket: S3Bucket, s3_server: S3Server) -> None:
    keys = [f"many/{number:04}" for number in range(1001)]
    (s3_server.bucket_folder / "many").mkdir()
    for key in keys:
        (s3_server.bucket_folder / key).touch()
    pages = [[one.key for one in page] async for page in bucket.pages("many/")]
    assert [len(page) for page in pages] == [1000, 1]
    assert [key for page in pages for key in page] == keys == await bucket.keys("many/")


async def test_info_and_parts_of_an_object(bucket: S3Bucket) -> None:
    await bucket.put("images/a.jpg", b"0123456789", content_type="image/jpeg")
    assert (await bucket.info("images/a.jpg")).size == 10
    assert [await bucket.part("images/a.jpg", start, 4) for start in (0, 4, 8)] == [b"0123", b"4567", b"89"]
    for attempt in (bucket.info("images/b.jpg"), bucket.part("images/b.jpg", 0, 4)):
        assert isinstance(await refused(attempt), ObjectMissing)


async def test_a_put_replaces_the_object(bucket: S3Bucket) -> None:
    for data in (b"a long first version", b"second"):
        await bucket.put("images/a.jpg", data, content_type="image/jpeg")
    assert await bucket.get("images/a.jpg") == b"second"


async def test_the_content_type_is_kept(bucket: S3Bucket) -> None:
    await bucket.put("images/a.webp", b"webp", content_type="image/webp")
    head = await bucket._client.head_object(Bucket="keda-jobs", Key="images/a.webp")
    assert head["ContentType"] == "image/webp"


async def test_a_missing_object_is_named(bucket: S3Bucket) -> None:
    error = await refused(bucket.get("images/none.jpg"))
    assert isinstance(error, ObjectMissing)
    assert "images/none.jpg" in str(error)


async def test_an_object_over_the_readers_limit_is_refused(bucket: S3Bucket) -> None:
    await bucket.put("images/a.jpg", bytes(1000), content_type="image/jpeg")
    assert len(await bucket.get("images/a.jpg", max_bytes=1000)) == 1000
    error = await refused(bucket.get("images/a.jpg", max_bytes=999))
    assert isinstance(error, ObjectTooLarge)
    assert str(error) == "object images/a.jpg has 1000 bytes, more than 999"
    assert len(await bucket.get("images/a.jpg")) == 1000


async def test_sixteen_concurrent_operations_do_not_mix(bucket: S3Bucket) -> None:
    async def there_and_back(number: int) -> bool:
        data = number.to_bytes() * 100_000
        await bucket.put(f"images/{number}.jpg", data, content_type="image/jpeg")
        return await bucket.get(f"images/{number}.jpg") == data

    assert all(await asyncio.gather(*map(there_and_back, range(64))))


async def test_a_good_bucket_passes_the_check(bucket: S3Bucket) -> None:
    await bucket.check()


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"r2_secret_access_key": SECRET}, "R2_SECRET_ACCESS_KEY"),
        ({"r2_access_key_id": "somebody-else"}, "R2_ACCESS_KEY_ID"),
        ({"r2_bucket": "no-such-bucket"}, "R2_BUCKET"),
    ],
)
async def test_wrong_credentials_and_a_wrong_bucket_name_the_setting(
    s3_server: S3Server, changes: dict[str, str], hint: str
) -> None:
    async with S3Bucket(settings_of(s3_server, **changes), connections=1, metrics=UNCOUNTED) as bucket:
        for attempt in (bucket.check(), bucket.get("a"), bucket.put("a", b"", content_type="image/png")):
            error = await refused(attempt)
            assert isinstance(error, StoreUnavailable)
            assert hint in str(error)


async def test_a_client_survives_a_restart_of_the_server(s3_server: S3Server) -> None:
    async with S3Bucket(settings_of(s3_server), connections=2, metrics=UNCOUNTED, timeouts=ONCE) as bucket:
        await bucket.put("images/a.jpg", b"a", content_type="image/jpeg")
        s3_server.stop()
        for attempt in (bucket.get("images/a.jpg"), bucket.put("b", b"", content_type="image/png"), bucket.check()):
            error = await refused(attempt)
            assert isinstance(error, StoreUnavailable)
            assert "unreachable" in str(error)
        await asyncio.to_thread(s3_server.start)
        assert await bucket.get("images/a.jpg") == b"a"


async def test_a_large_body_is_not_held_twice(bucket: S3Bucket) -> None:
    data = bytearray(24 * MIB)
    tracemalloc.start()
    try:
        await bucket.put("images/large.jpg", data, content_type="image/jpeg")
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
        tracemalloc.reset_peak()
        await bucket.get("images/large.jpg")
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()


class StandIn:
    """HTTP server with a chosen response, which records the headers of its requests."""

    def __init__(self, answer: Answer) -> None:
        self.headers: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{free_port()}"
        self._answer = answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return await self._answer(request)


@asynccontextmanager
async def stand_in(answer: Answer, timeouts: S3Timeouts = ONCE) -> AsyncIterator[tuple[S3Bucket, StandIn]]:
    server = StandIn(answer)
    app = web.Application(client_max_size=64 * MIB)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(server.url.rpartition(":")[2])).start()
    try:
        async with S3Bucket(settings(server.url), connections=4, metrics=UNCOUNTED, timeouts=timeouts) as bucket:
            yield bucket, server
    finally:
        await runner.cleanup()


def answering(status: int, body: str = "", content_type: str = "application/xml", **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=status, text=body, content_type=content_type, headers=headers)

    return answer


def refusing(status: int, code: str) -> Answer:
    return answering(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>")


@pytest.mark.parametrize("size", [1000, 3 * MIB])
async def test_a_put_sends_what_r2_accepts_and_no_checksum(size: int) -> None:
    data = bytes(size)
    async with stand_in(answering(200, ETag='"1"')) as (bucket, server):
        await bucket.put("images/a.jpg", data, content_type="image/jpeg")
        (headers,) = server.headers
    assert not [name for name in headers if name.startswith(("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer"))]
    assert headers.keys().isdisjoint({"content-encoding", "transfer-encoding", "content-md5", "expect"})
    assert headers["content-length"] == str(size)
    assert headers["content-type"] == "image/jpeg"
    assert headers["x-amz-content-sha256"] == hashlib.sha256(data).hexdigest()
    assert "/auto/s3/aws4_request" in headers["authorization"]
    assert SECRET not in str(headers)


@pytest.mark.parametrize(
    "answer",
    [
        refusing(403, "AccessDenied"),
        refusing(400, "ExpiredToken"),
        refusing(503, "SlowDown"),
        refusing(500, "InternalError"),
        answering(502),
        answering(502, "<html><h1>Bad Gateway", "text/html"),
        answering(200, "<html><h1>Sign in", "text/html"),
        answering(302, Location="https://login.example/"),
    ],
)
async def test_what_the_probe_gets_too_is_a_failure_of_the_store(answer: Answer) -> None:
    async with stand_in(answer) as (bucket, _):
        for attempt in (bucket.get("images/a.jpg"), bucket.put("a", b"", content_type="image/png"), bucket.check()):
            assert type(await refused(attempt)) is StoreUnavailable


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (answering(200, ETag='"1"'), "ok"),
        (answering(404), "ok"),
        (refusing(500, "InternalError"), "unavailable"),
        (refusing(403, "AccessDenied"), "unavailable"),
    ],
)
async def test_an_operation_is_counted_by_its_outcome(answer: Answer, outcome: str) -> None:
    registry = JobRegistry("pictures")
    async with stand_in(answer) as (bucket, _):
        bucket._metrics = StoreMetrics(registry)
        with contextlib.suppress(JobError):
            await bucket.get("images/a.jpg")

    def counted(outcome: str) -> bool:
        labels = {"job": "pictures", "operation": "get", "outcome": outcome}
        return bool(registry.get_sample_value("keda_jobs_store_operation_duration_seconds_count", labels))

    assert [each for each in ("ok", "failed", "unavailable") if counted(each)] == [outcome]


async def never(request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"ETag": '"1"', "Content-Length": "1000000"})
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.05)


async def break_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"ETag": '"1"', "Content-Length": "1000000"})
    await response.prepare(request)
    await response.write(bytes(1000))
    assert request.transport is not None
    request.transport.close()
    return response


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"ETag": '"1"'})
    await response.prepare(request)
    while True:
        await response.write(bytes(64 * 1024))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (never, StoreUnavailable),
        (drip, Transient),  # the probe wants no byte
        (break_off, Transient),
        (hang_up, StoreUnavailable),
    ],
)
async def test_a_server_that_stalls_or_disconnects_fails_in_bounded_time(answer: Answer, kind: type[JobError]) -> None:
    async with stand_in(answer, HASTY) as (bucket, _):
        async with asyncio.timeout(DEADLINE_S):
            assert type(await refused(bucket.get("images/a.jpg"))) is kind


async def test_a_body_of_unknown_length_is_counted_while_it_is_read() -> None:
    async with stand_in(endless) as (bucket, _):
        assert isinstance(await refused(bucket.get("images/a.jpg", max_bytes=MIB)), ObjectTooLarge)


async def test_a_server_that_stops_reading_fails_in_bounded_time() -> None:
    over = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await over.wait()
        finally:
            writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, S3Bucket(settings(url), connections=1, metrics=UNCOUNTED, timeouts=HASTY) as bucket:
        async with asyncio.timeout(DEADLINE_S):
            error = await refused(bucket.put("images/a.jpg", bytes(32 * MIB), content_type="image/jpeg"))
        assert type(error) is StoreUnavailable
        over.set()


async def test_an_unknown_host_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(*_args: object, **_options: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_answer)
    async with S3Bucket(settings("http://nowhere.invalid"), connections=1, metrics=UNCOUNTED, timeouts=ONCE) as bucket:
        error = await refused(bucket.check())
    assert isinstance(error, StoreUnavailable)
    assert "nowhere.invalid" in str(error)


@pytest.mark.parametrize("url", [f"http://user:{SECRET}@127.0.0.1", "http://not a host", "http://-/%"])
async def test_an_endpoint_with_a_password_or_without_a_host_is_a_wrong_setting(url: str) -> None:
    fields = settings("http://store").model_dump() | {"r2_endpoint_url": url}
    with pytest.raises(Misconfigured, match="R2_ENDPOINT_URL") as caught:
        async with S3Bucket(load_settings(StoreSettings, **fields), connections=1, metrics=UNCOUNTED):
            pass
    assert SECRET not in str(caught.value)


async def test_only_the_settings_are_used(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    canary = await asyncio.start_server(lambda *streams: asked.append(streams), "127.0.0.1")
    url = f"http://127.0.0.1:{canary.sockets[0].getsockname()[1]}"
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = other\naws_secret_access_key = other\n"
    )
    (tmp_path / ".aws" / "config").write_text(f"[default]\nendpoint_url = {url}\n")
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_PROFILE": "no-such-profile",
        "AWS_ACCESS_KEY_ID": "other",
        "AWS_SECRET_ACCESS_KEY": "other",
        "AWS_SESSION_TOKEN": "other",
        "AWS_ENDPOINT_URL": url,
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_DEFAULTS_MODE": "auto",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
    }.items():
        monkeypatch.setenv(name, value)
    async with canary, S3Bucket(settings_of(s3_server), connections=1, metrics=UNCOUNTED) as bucket:
        await bucket.put("images/a.jpg", b"a", content_type="image/jpeg")
        assert await bucket.get("images/a.jpg") == b"a"
    assert asked == []
