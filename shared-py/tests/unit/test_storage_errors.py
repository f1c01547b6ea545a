"""Exceptions of the S3 client: a platform failure, a failure of one object, or a missing object."""

from __future__ import annotations

import subprocess
import sys

import aiohttp
import pytest
from botocore import exceptions
from botocore.exceptions import ClientError

from keda_jobs.errors import JobError, StoreUnavailable, Transient
from keda_jobs.storage import ObjectMissing, S3Timeouts, _config, translate_error

STORE = "bucket pictures at store.example"
XML = "application/xml"


def refusal(
    status: int, code: str, *, text: str = "", content_type: str = XML, operation: str = "GetObject"
) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": text},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "HTTPHeaders": {"content-type": content_type},
                "RequestId": "",
                "HostId": "",
                "RetryAttempts": 0,
            },
        },
        operation,
    )


def meaning(error: Exception) -> JobError:
    return translate_error(error, STORE, "images/a.jpg")


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
def test_refused_credentials_are_a_platform_failure_and_name_the_settings(status: int, code: str) -> None:
    error = meaning(refusal(status, code))
    assert isinstance(error, StoreUnavailable)
    assert code in str(error)
    assert "R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY" in str(error)


def test_an_access_key_of_the_wrong_length_is_refused_by_r2_as_an_argument() -> None:
    text = "Credential access key has length 20, should be 32"
    assert isinstance(meaning(refusal(400, "InvalidArgument", text=text)), StoreUnavailable)
    assert not isinstance(meaning(refusal(400, "InvalidArgument", text="partNumber")), StoreUnavailable)


def test_a_wrong_clock_is_reported() -> None:
    error = meaning(refusal(403, "RequestTimeTooSkewed"))
    assert isinstance(error, StoreUnavailable)
    assert "clock" in str(error)


def test_a_missing_bucket_is_a_platform_failure_and_names_the_setting() -> None:
    error = meaning(refusal(404, "NoSuchBucket"))
    assert isinstance(error, StoreUnavailable)
    assert "R2_BUCKET" in str(error)


@pytest.mark.parametrize("code", ["NoSuchKey", "404"])
def test_a_missing_object_gets_a_few_attempts(code: str) -> None:
    error = meaning(refusal(404, code))
    assert isinstance(error, ObjectMissing)
    assert error.max_deliveries == 3
    assert "images/a.jpg" in str(error)


def test_a_put_never_fails_with_a_missing_object() -> None:
    assert type(meaning(refusal(404, "404", operation="PutObject"))) is Transient


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (503, "ServiceUnavailable"), (429, "TooManyRequests")])
def test_a_store_under_load_pauses_the_loop(status: int, code: str) -> None:
    error = meaning(refusal(status, code))
    assert isinstance(error, StoreUnavailable)
    assert code in str(error)


@pytest.mark.parametrize("status", [400, 403, 404, 500, 502])
def test_a_web_page_is_not_a_response_of_a_store(status: int) -> None:
    error = meaning(refusal(status, str(status), content_type="text/html; charset=utf-8"))
    assert isinstance(error, StoreUnavailable)
    assert "R2_ENDPOINT_URL" in str(error)


def test_a_redirect_is_not_a_response_of_this_store() -> None:
    assert isinstance(meaning(refusal(301, "PermanentRedirect")), StoreUnavailable)


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (501, "NotImplemented"), (400, "EntityTooLarge")])
def test_a_failure_of_one_object_uses_up_deliveries(status: int, code: str) -> None:
    error = meaning(refusal(status, code, text="We had\n  trouble"))
    assert type(error) is Transient
    assert str(error) == f"{STORE} failed with images/a.jpg: HTTP {status} {code}: We had trouble"


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
def test_an_unreachable_store_is_a_platform_failure_with_a_reason(error: exceptions.BotoCoreError) -> None:
    found = meaning(error)
    assert isinstance(found, StoreUnavailable)
    assert str(error.kwargs["error"]) in str(found)
    assert "R2_ENDPOINT_URL" in str(found)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ReadTimeoutError(endpoint_url="https://x", error=TimeoutError()),
        exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        exceptions.ResponseStreamingError(error=OSError()),
        exceptions.ParamValidationError(report="Invalid type for\nparameter Key"),
        exceptions.HTTPClientError(error=OSError()),
        aiohttp.ClientPayloadError("Response payload is not completed"),
        TimeoutError(),
        RuntimeError("Session is closed"),
    ],
)
def test_any_other_error_uses_up_deliveries_and_names_the_object(error: Exception) -> None:
    found = meaning(error)
    assert type(found) is Transient
    assert "images/a.jpg" in str(found)
    assert "\n" not in str(found)


def test_the_s3_client_is_imported_only_to_open_a_bucket() -> None:
    code = "import sys, keda_jobs.storage; print([name for name in ('aioboto3', 'botocore') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(("endpoint", "signed"), [("http://localhost:9000", True), ("https://r2.example", False)])
def test_a_body_is_hashed_only_without_tls(endpoint: str, signed: bool) -> None:
    assert vars(_config(endpoint, 1, S3Timeouts()))["s3"]["payload_signing_enabled"] is signed
