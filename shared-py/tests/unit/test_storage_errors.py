"""Failures of the S3 client in words: of the store, of one object, or a missing object."""

from __future__ import annotations

import subprocess
import sys

import aiohttp
import pytest
from botocore import exceptions
from botocore.exceptions import ClientError

from keda_jobs.errors import RetryAfter, StoreUnavailable, Transient
from keda_jobs.storage import S3Timeouts
from keda_jobs.storage.client import client_config
from keda_jobs.storage.failures import is_missing_object, is_refused_body, object_failure, store_failure

STORE = "bucket pictures at store.example"
XML = "application/xml"


def refusal(
    status: int,
    code: str,
    *,
    text: str = "",
    content_type: str = XML,
    operation: str = "GetObject",
    retry_after: str = "",
) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": text},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "HTTPHeaders": {"content-type": content_type, "retry-after": retry_after},
                "RequestId": "",
                "HostId": "",
                "RetryAttempts": 0,
            },
        },
        operation,
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (403, "AccessDenied"),
        (403, "403"),
        (401, "Unauthorized"),
        (400, "ExpiredToken"),
        (400, "InvalidToken"),
        (400, "AuthorizationHeaderMalformed"),
    ],
)
def test_refused_credentials_name_the_settings(status: int, code: str) -> None:
    error = store_failure(refusal(status, code), STORE)
    assert code in str(error)
    assert "R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY" in str(error)
    assert not is_refused_body(refusal(status, code))


def test_an_access_key_of_the_wrong_length_is_refused_by_r2_as_an_argument() -> None:
    text = "Credential access key has length 20, should be 32"
    assert "R2_ACCESS_KEY_ID" in str(store_failure(refusal(400, "InvalidArgument", text=text), STORE))
    assert "R2_ACCESS_KEY_ID" not in str(store_failure(refusal(400, "InvalidArgument", text="partNumber"), STORE))


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (refusal(403, "RequestTimeTooSkewed"), "clock"),
        (refusal(404, "NoSuchBucket"), "R2_BUCKET"),
        (refusal(503, "SlowDown"), "asks for a pause (HTTP 503 SlowDown)"),
        (refusal(429, "TooManyRequests"), "asks for a pause"),
        (refusal(500, "InternalError", text="We had\n  trouble"), "fails: HTTP 500 InternalError: We had trouble"),
        (refusal(301, "PermanentRedirect"), "R2_ENDPOINT_URL"),
        *(
            (refusal(status, str(status), content_type="text/html"), "R2_ENDPOINT_URL")
            for status in (400, 403, 404, 502)
        ),
        (TimeoutError(), "does not answer in time"),
        (RuntimeError("Session is closed"), "RuntimeError: Session is closed"),
    ],
)
def test_a_failure_of_the_store_says_what_to_check(error: Exception, hint: str) -> None:
    found = store_failure(error, STORE)
    assert type(found) is StoreUnavailable
    assert hint in str(found)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.EndpointConnectionError(endpoint_url="https://x", error=OSError("Name or service not known")),
        exceptions.ConnectTimeoutError(endpoint_url="https://x", error=TimeoutError("no answer")),
        exceptions.ConnectionClosedError(endpoint_url="https://x", error=OSError("Server disconnected")),
        exceptions.SSLError(endpoint_url="https://x", error=OSError("certificate has expired")),
        exceptions.ProxyConnectionError(proxy_url="https://x", error=OSError("refused")),
    ],
)
def test_an_unreachable_store_is_reported_with_a_reason(error: exceptions.BotoCoreError) -> None:
    found = store_failure(error, STORE)
    assert str(error.kwargs["error"]) in str(found)
    assert "R2_ENDPOINT_URL" in str(found)


@pytest.mark.parametrize("code", ["NoSuchKey", "404"])
def test_a_missing_object_is_an_answer(code: str) -> None:
    assert is_missing_object(refusal(404, code))


@pytest.mark.parametrize(
    "error",
    [
        refusal(404, "NoSuchBucket"),
        refusal(404, "404", operation="PutObject"),
        refusal(404, "404", content_type="text/html; charset=utf-8"),
        refusal(403, "AccessDenied"),
        TimeoutError(),
    ],
)
def test_no_other_failure_is_a_missing_object(error: Exception) -> None:
    assert not is_missing_object(error)


@pytest.mark.parametrize(("status", "code"), [(400, "BadDigest"), (400, "InvalidDigest"), (429, "TooManyRequests")])
def test_a_store_that_refuses_the_body_has_accepted_the_credentials(status: int, code: str) -> None:
    assert is_refused_body(refusal(status, code, operation="PutObject"))
    assert not is_refused_body(refusal(status, code, content_type="text/html"))


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "InternalError"), (501, "NotImplemented"), (400, "EntityTooLarge"), (403, "AccessDenied")],
)
def test_a_failure_of_one_object_uses_up_deliveries(status: int, code: str) -> None:
    error = object_failure(refusal(status, code, text="We had\n  trouble"), STORE, "images/a.jpg")
    assert type(error) is Transient
    assert str(error) == f"{STORE} failed with images/a.jpg: HTTP {status} {code}: We had trouble"


@pytest.mark.parametrize(
    ("header", "delay_s"), [("7", 7.0), ("", None), ("-1", None), ("9" * 99, None), ("soon", None)]
)
def test_a_failure_of_one_object_carries_the_pause_that_the_store_asks_for(header: str, delay_s: float | None) -> None:
    error = object_failure(refusal(429, "TooManyRequests", retry_after=header), STORE, "images/a.jpg")
    assert (error.delay_s if isinstance(error, RetryAfter) else None) == delay_s


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ReadTimeoutError(endpoint_url="https://x", error=TimeoutError()),
        exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        exceptions.ParamValidationError(report="Invalid type for\nparameter Key"),
        exceptions.HTTPClientError(error=OSError()),
        aiohttp.ClientPayloadError("Response payload is not completed"),
        TimeoutError(),
        RuntimeError("Session is closed"),
    ],
)
def test_any_other_error_names_the_object(error: Exception) -> None:
    found = object_failure(error, STORE, "images/a.jpg")
    assert type(found) is Transient
    assert "images/a.jpg" in str(found)
    assert "\n" not in str(found)


def test_the_s3_client_is_imported_only_to_open_a_bucket() -> None:
    code = "import sys, keda_jobs.storage; print([name for name in ('aioboto3', 'botocore') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(("endpoint", "signed"), [("http://localhost:9000", True), ("https://r2.example", False)])
def test_a_body_is_hashed_only_without_tls(endpoint: str, signed: bool) -> None:
    assert vars(client_config(endpoint, 1, S3Timeouts()))["s3"]["payload_signing_enabled"] is signed
