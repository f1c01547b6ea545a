"""Failures of the S3 client in words: of one object, or of the store. The store's probe decides which of the two."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from keda_jobs.errors import RetryAfter, StoreUnavailable, Transient
from keda_jobs.storage.identity import NoPodIdentity

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_STALE = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "AuthorizationHeaderMalformed")
_SECONDS = re.compile(r"[0-9]{1,9}")


class NotAnS3Answer(Exception):
    """The answer is no S3 server's, such as that of a login page."""


def object_failure(error: Exception, store: str, key: str) -> Transient:
    """Build the failure of one object, while the store answers its probe. `store` names the bucket and endpoint."""
    from botocore.exceptions import ClientError

    if isinstance(error, TimeoutError):
        return Transient(f"{store} did not finish with {key} in time")
    if not isinstance(error, ClientError):
        return Transient(f"{store} failed with {key}: {type(error).__name__}: {_one_line(error)}")
    status, code, message = _answer(error)
    text = f"{store} failed with {key}: HTTP {status} {code}: {message}"
    delay_s = retry_after_s(error)
    return Transient(text) if delay_s is None else RetryAfter(text, delay_s=delay_s)


def store_failure(error: Exception, store: str) -> StoreUnavailable:
    """Build the failure of the store, whose probe failed with `error`."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return StoreUnavailable(_refusal(error, store))
    if isinstance(error, exceptions.ConnectionError | exceptions.ConnectionClosedError):
        cause = _one_line(error.kwargs.get("error", type(error).__name__))
        return StoreUnavailable(f"{store} is unreachable ({cause}): check R2_ENDPOINT_URL and that the store runs")
    if isinstance(error, NoPodIdentity):
        return StoreUnavailable(
            f"{store} cannot be asked, because the pod's identity gives no credentials ({_one_line(error)}): "
            "check the role of the ServiceAccount, and the network policy that opens the way to it"
        )
    if isinstance(error, NotAnS3Answer):
        return StoreUnavailable(f"{store} does not answer like an S3 server: check R2_ENDPOINT_URL")
    if isinstance(error, TimeoutError | exceptions.ReadTimeoutError):
        return StoreUnavailable(f"{store} does not answer in time")
    return StoreUnavailable(f"{store} fails: {type(error).__name__}: {_one_line(error)}")


def retry_after_s(error: Exception) -> float | None:
    """Return the seconds that the store asks to wait, if it does."""
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return None
    header = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", "").strip()
    return float(header) if _SECONDS.fullmatch(header) else None


def is_missing_object(error: Exception) -> bool:
    """Return whether the store answers that it has no such object."""
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError) or error.operation_name not in ("GetObject", "HeadObject"):
        return False
    status, code, _ = _answer(error)
    return status == 404 and code != "NoSuchBucket" and not _is_web_page(error)


def is_refused_body(error: Exception) -> bool:
    """Return whether the store refuses the body of a put, or its rate for this key, and so accepts the credentials."""
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return False
    status, code, message = _answer(error)
    accepted = status in (400, 409, 412, 422, 429) and not _refuses_credentials(status, code, message)
    return accepted and not _is_web_page(error)


def _refusal(error: ClientError, store: str) -> str:
    status, code, message = _answer(error)
    if code == "NoSuchBucket":
        return f"there is no {store}: create it or correct R2_BUCKET"
    if code == "RequestTimeTooSkewed":
        return f"{store} refuses the request's time: set the clock of this machine"
    if _is_web_page(error) or 300 <= status < 400:
        return f"{store} does not answer like an S3 server (HTTP {status}): check R2_ENDPOINT_URL"
    if _refuses_credentials(status, code, message):
        return (
            f"{store} refuses the credentials ({code}): check R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY, "
            "and that the key may read and write objects in this bucket"
        )
    if status in (429, 503):
        return f"{store} asks for a pause (HTTP {status} {code})"
    return f"{store} fails: HTTP {status} {code}: {message}"


def _refuses_credentials(status: int, code: str, message: str) -> bool:
    # AWS says 400 to a stale token; R2 says InvalidArgument to a key of the wrong length.
    return status in (401, 403) or code in _STALE or (code == "InvalidArgument" and message.startswith("Credential"))


def _is_web_page(error: ClientError) -> bool:
    """Return whether a proxy or a login page answered. The store itself answers in XML."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return "html" in headers.get("content-type", "")


def _answer(error: ClientError) -> tuple[int, str, str]:
    """Return status, code and message of the answer."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    details = error.response.get("Error", {})
    return status, details.get("Code", ""), _one_line(details.get("Message", ""))


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300]
