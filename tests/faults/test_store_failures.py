"""Who owns a failure of the store: one object or key, or everybody. The store's probe decides, not the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from keda_jobs.errors import JobError, RetryAfter, StoreUnavailable, Transient
from keda_jobs.runtime.metrics import JobRegistry, StoreMetrics
from keda_jobs.settings import StoreSettings
from keda_jobs.storage import S3Bucket, S3Timeouts
from stack import S3Server, until

from .faulty_store import MIB, Asked, Fault, FaultyStore, OneWriteASecond, answering, hang, only, reset, sound

ONCE = S3Timeouts(attempts=1)
BAD, GOOD = "images/bad.jpg", "images/good.jpg"

FAULTS = {
    "a bucket lock": answering(403, "AccessDenied"),
    "an unknown key id": answering(403, "InvalidAccessKeyId"),
    "a signature": answering(403, "SignatureDoesNotMatch"),
    "a clock": answering(403, "RequestTimeTooSkewed"),
    "a stale token": answering(400, "ExpiredToken"),
    "no right": answering(401, "Unauthorized"),
    "a firewall": answering(403, "Forbidden", "text/html"),
    "a bad request": answering(400, "InvalidRequest"),
    "a conflict": answering(409, "OperationAborted"),
    "a condition": answering(412, "PreconditionFailed"),
    "no bucket": answering(404, "NoSuchBucket"),
    "a gateway": answering(502, "", "text/html"),
    "an internal error": answering(500, "InternalError"),
    "a slow prefix": answering(503, "SlowDown"),
    "a rate": answering(429, "TooManyRequests"),
    "a redirect": answering(307, "TemporaryRedirect", Location="http://127.0.0.1:9/elsewhere"),
    "a reset": reset,
}
faults = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())


@pytest.fixture
async def bucket(faulty_store: FaultyStore, s3_server: S3Server) -> AsyncIterator[S3Bucket]:
    """Open the bucket behind `faulty_store`."""
    values = {name.lower(): value for name, value in s3_server.environment().items()}
    settings = StoreSettings.model_validate(values | {"r2_endpoint_url": faulty_store.url})
    metrics = StoreMetrics(JobRegistry("pictures"))
    async with S3Bucket(settings, connections=16, metrics=metrics, timeouts=S3Timeouts(read_s=3)) as bucket:
        await put(bucket, BAD)
        yield bucket


async def put(bucket: S3Bucket, key: str, data: bytes = b"picture") -> None:
    await bucket.put(key, data, content_type="image/jpeg")


async def failure(bucket: S3Bucket, operation: str, key: str = BAD) -> JobError | None:
    try:
        await (bucket.get(key) if operation == "get" else put(bucket, key))
    except JobError as error:
        return error
    return None


def once(bucket: S3Bucket) -> S3Bucket:
    """Let `bucket` try once, so that a test of a kind need not wait."""
    bucket._timeouts = replace(bucket._timeouts, attempts=1)
    return bucket


def is_bad(asked: Asked) -> bool:
    return asked.key == BAD


@faults
@pytest.mark.parametrize("operation", ["get", "put"])
async def test_a_failure_of_one_object_is_its_own(
    bucket: S3Bucket, faulty_store: FaultyStore, fault: Fault, operation: str
) -> None:
    faulty_store.fault = only(fault, is_bad)
    error = await failure(once(bucket), operation)
    assert type(error) is Transient
    assert BAD in str(error)
    await put(bucket, GOOD)


@faults
@pytest.mark.parametrize("operation", ["get", "put"])
async def test_a_failure_of_every_request_is_the_stores(
    bucket: S3Bucket, faulty_store: FaultyStore, fault: Fault, operation: str
) -> None:
    faulty_store.fault = fault
    assert type(await failure(once(bucket), operation)) is StoreUnavailable


@faults
async def test_a_store_that_takes_no_writes_is_unavailable_though_it_answers_reads(
    bucket: S3Bucket, faulty_store: FaultyStore, fault: Fault
) -> None:
    def is_a_write(asked: Asked) -> bool:
        return asked.method == "PUT" and (fault not in REFUSED_BODIES or not asked.is_probe)

    faulty_store.fault = only(fault, is_a_write)
    expected = Transient if fault in REFUSED_BODIES else StoreUnavailable
    assert type(await failure(once(bucket), "put")) is expected
    assert await failure(bucket, "get") is None


REFUSED_BODIES = [FAULTS[name] for name in ("a bad request", "a conflict", "a condition", "a rate")]
"""Faults that a store with good credentials may answer to the body of a probe."""


async def test_the_probe_of_writing_leaves_nothing_in_the_bucket(
    bucket: S3Bucket, faulty_store: FaultyStore, s3_server: S3Server
) -> None:
    faulty_store.fault = only(answering(403, "AccessDenied"), is_bad)
    await failure(once(bucket), "put")
    assert [asked.method for asked in faulty_store.asked if asked.is_probe] == ["GET", "PUT"]
    assert [path.name for path in s3_server.bucket_folder.rglob("*") if path.is_file()] == ["bad.jpg"]


async def test_a_body_that_stalls_alone_is_the_objects(bucket: S3Bucket, faulty_store: FaultyStore) -> None:
    faulty_store.fault = only(hang, lambda asked: len(asked.body) > MIB)
    with pytest.raises(Transient, match="large"):
        await put(once(bucket), "images/large.jpg", bytes(2 * MIB))
    await put(bucket, GOOD)


@pytest.mark.parametrize("operation", ["get", "put"])
async def test_a_store_that_was_away_for_a_moment_costs_nothing(
    bucket: S3Bucket, faulty_store: FaultyStore, operation: str
) -> None:
    """It is back when the probe asks, so the failure looks like the object's."""

    async def once_bad(asked: Asked) -> None:
        if is_bad(asked):
            faulty_store.fault = sound
            await reset(asked)

    faulty_store.fault = once_bad
    assert await failure(bucket, operation) is None


@pytest.mark.parametrize(("status", "code"), [(429, "TooManyRequests"), (503, "SlowDown")])
async def test_the_pause_that_the_store_asks_for_is_passed_on(
    bucket: S3Bucket, faulty_store: FaultyStore, status: int, code: str
) -> None:
    faulty_store.fault = only(answering(status, code, **{"Retry-After": "77"}), is_bad)
    error = await failure(bucket, "put")
    assert isinstance(error, RetryAfter)
    assert error.delay_s == 77
    assert faulty_store.puts(BAD) == 2  # one of them by the fixture


async def test_equal_puts_at_once_are_one_upload(bucket: S3Bucket, faulty_store: FaultyStore) -> None:
    faulty_store.fault = OneWriteASecond()
    await asyncio.gather(*(put(bucket, GOOD, b"placeholder") for _ in range(60)))
    assert faulty_store.puts(GOOD) == 1
    assert await bucket.get(GOOD) == b"placeholder"


async def test_a_key_that_was_written_a_moment_ago_is_written_in_the_next_second(
    bucket: S3Bucket, faulty_store: FaultyStore
) -> None:
    faulty_store.fault = OneWriteASecond()
    for data in (b"first", b"second"):
        await put(bucket, GOOD, data)
    assert await bucket.get(GOOD) == b"second"


async def test_other_bytes_under_a_key_wait_for_their_turn(bucket: S3Bucket, faulty_store: FaultyStore) -> None:
    running: list[bytes] = []

    async def alone(asked: Asked) -> None:
        if asked.key == GOOD:
            running.append(asked.body)
            assert len(running) == 1
            await asyncio.sleep(0)
            running.clear()

    faulty_store.fault = alone
    await asyncio.gather(*(put(bucket, GOOD, b"%d" % number) for number in (1, 2, 1, 3)))
    assert [asked.body for asked in faulty_store.asked if asked.key == GOOD] == [b"1", b"2", b"3"]
    assert await bucket.get(GOOD) == b"3"


async def test_an_upload_whose_caller_is_cancelled_is_taken_over(bucket: S3Bucket, faulty_store: FaultyStore) -> None:
    faulty_store.fault = only(hang, lambda asked: asked.key == GOOD)
    bucket._timeouts = replace(bucket._timeouts, read_s=60)
    first, second = (asyncio.create_task(put(bucket, GOOD)) for _ in range(2))
    await until(lambda: faulty_store.puts(GOOD))
    faulty_store.fault = sound
    first.cancel()
    await second
    assert await bucket.get(GOOD) == b"picture"
