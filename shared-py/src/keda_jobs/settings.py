"""Settings from the environment: one class per concern, validated at start, printed with secrets masked."""

from __future__ import annotations

import os
import re
import socket
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from keda_jobs.errors import Misconfigured


def _seconds(value: Any) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*s?\s*", value)):
        return float(match[1])
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(allow_inf_nan=False, le=366 * 24 * 3600)]
"""Duration in seconds, at most a year. `30` and `30s` are both accepted."""


LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]


_ESCAPING = "write characters such as @ : / # ? % in user and password as %40 and so on"


def _split_url(text: str, *schemes: str) -> SplitResult | None:
    """Split a URL of one of the `schemes`. Return None for anything else.

    No error of the parser gets out: its text may contain a part of the password.
    """
    try:
        url = urlsplit(text)
    except ValueError:
        return None
    # An @ further right belongs to a password with a slash, a question mark or a hash.
    return None if url.scheme not in schemes or "@" in url.path + url.query + url.fragment else url


def _names_a_host(url: SplitResult | None) -> bool:
    """Return whether `url` has a host that can be looked up, and no impossible port."""
    try:
        host = (url.hostname if url else None) or ""
        host.encode("idna")
        return bool(host) and not re.search(r"\s", host) and url is not None and url.port != 0
    except ValueError:  # UnicodeError is one
        return False


def _nats_server(text: str) -> SplitResult | None:
    url = _split_url(text, "nats", "tls", "ws", "wss")
    if url is None or not _names_a_host(url):
        return None
    return url if url.scheme in ("ws", "wss") or url.path in ("", "/") else None


def _is_http_url(text: str) -> str:
    url = _split_url(text, "http", "https")
    if not _names_a_host(url) or re.search("[@?#]", text):
        raise ValueError("must be a URL such as https://host:443, without user, password, query and fragment")
    return text


HttpUrl = Annotated[str, AfterValidator(_is_http_url)]
"""URL of an HTTP server."""

# Control characters, line separators, and how Python represents bytes that are not UTF-8.
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BYTE_ORDER_MARK = "\ufeff"


class Settings(BaseSettings):
    """Base: each field is read from the environment variable of the same name in upper case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _clean(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Strip every string. What is empty then is not set, as if the variable were absent."""
        texts = {
            name: value.strip().strip(_BYTE_ORDER_MARK).strip()
            for name, value in values.items()
            if isinstance(value, str)
        }
        if wrong := [name.upper() for name, text in texts.items() if _NOT_TEXT.search(text)]:
            raise ValueError(f"{', '.join(wrong)}: contains a control character or bytes that are not UTF-8")
        return {name: value for name, value in (values | texts).items() if value != ""}


class NatsSettings(Settings):
    """Address of NATS and the user there."""

    nats_url: str = Field("nats://localhost:4222", description="NATS servers of one cluster, separated by commas")
    nats_user: str | None = Field(None, description="user name")
    nats_password: SecretStr | None = Field(None, description="password of `NATS_USER`")
    nats_creds: Path | None = Field(None, description="file with NATS credentials (JWT and seed)")
    nats_tls_ca: Path | None = Field(None, description="file with the CA that signed the server's certificate")

    @field_validator("nats_url")
    @classmethod
    def _check_servers(cls, text: str) -> str:
        """Check the URLs, and complete those without a scheme."""
        texts = [part.strip() for part in text.split(",") if part.strip()]
        texts = [part if "://" in part else f"nats://{part}" for part in texts]
        urls = [url for part in texts if (url := _nats_server(part))]
        if not urls or len(urls) < len(texts):
            raise ValueError(f"must be URLs such as nats://host:4222, separated by commas; {_ESCAPING}")
        if len({url.scheme in ("ws", "wss") for url in urls}) > 1:
            raise ValueError("must be all WebSocket URLs, or none")
        if len({(url.username, url.password) for url in urls}) > 1:
            raise ValueError("must name one user for all servers; set NATS_USER and NATS_PASSWORD instead")
        return ",".join(texts)

    @field_validator("nats_creds", "nats_tls_ca")
    @classmethod
    def _file_exists(cls, path: Path | None) -> Path | None:
        # The value is not shown: it may be the credentials themselves. Its name may be too long for a file.
        if path is not None and not os.path.isfile(path):  # noqa: PTH113
            raise ValueError("there is no file of that name; set the path of a file that is mounted")
        return path

    @field_validator("nats_tls_ca")
    @classmethod
    def _holds_certificates(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                ssl.create_default_context(cafile=path)
            except OSError as error:
                raise ValueError(f"{path} cannot be read as certificates in PEM format") from error
        return path

    @model_validator(mode="after")
    def _login_is_complete(self) -> Self:
        if (self.nats_user is None) != (self.nats_password is None):
            given, absent = ("NATS_PASSWORD", "NATS_USER") if self.nats_user is None else ("NATS_USER", "NATS_PASSWORD")
            raise ValueError(f"{absent} is not set, but {given} is")
        return self


class StoreSettings(Settings):
    """S3 bucket, Cloudflare R2 by default."""

    r2_endpoint_url: HttpUrl | None = Field(None, description="S3 endpoint, derived from `R2_ACCOUNT_ID` if not set")
    r2_account_id: str | None = Field(
        None, description="Cloudflare account, may replace `R2_ENDPOINT_URL`", pattern=r"^[0-9A-Za-z]+$"
    )
    r2_access_key_id: str = Field(description="access key")
    r2_secret_access_key: SecretStr = Field(description="secret of the access key")
    r2_bucket: str = Field(description="bucket", min_length=3, max_length=63, pattern=r"^[0-9A-Za-z._-]+$")

    @model_validator(mode="after")
    def _some_endpoint(self) -> Self:
        if self.r2_endpoint_url is None and self.r2_account_id is None:
            raise ValueError("R2_ENDPOINT_URL (or R2_ACCOUNT_ID) is not set")
        return self

    @property
    def endpoint_url(self) -> str:
        """S3 endpoint."""
        return self.r2_endpoint_url or f"https://{self.r2_account_id}.r2.cloudflarestorage.com"


class PgSettings(Settings):
    """Address of PostgreSQL and the user there."""

    pg_dsn: SecretStr = Field(description="PostgreSQL, as `postgresql://user:password@host:port/database`")

    @field_validator("pg_dsn")
    @classmethod
    def _is_a_url(cls, dsn: SecretStr) -> SecretStr:
        if _split_url(dsn.get_secret_value(), "postgresql", "postgres") is None:
            raise ValueError(f"must be a URL such as postgresql://user:password@host:5432/database; {_ESCAPING}")
        return dsn


class TraceSettings(Settings):
    """Destination of spans. OpenTelemetry reads its other variables itself."""

    otel_exporter_otlp_endpoint: HttpUrl | None = Field(
        None,
        description="collector that accepts traces as OTLP over HTTP. Needs `keda-jobs[tracing]`, see docs/tracing.md",
    )


class ProcessSettings(Settings):
    """Settings of every process: log and probes."""

    log_level: LogLevel = Field("INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`")
    http_port: int = Field(
        8080, ge=0, le=65535, description="port of `/healthz`, `/readyz` and `/metrics`, 0 takes a free one"
    )
    # Above ten minutes of running, Kubernetes restarts a container within seconds, however often it has exited.
    hold_timeout_s: Seconds = Field(
        600,
        gt=0,
        description="how long to wait for an unavailable server, then give back what is in flight and exit 1",
    )


class WorkSettings(ProcessSettings, TraceSettings):
    """Settings of processes that work on messages or rows: traces and shutdown."""

    shutdown_grace_s: Seconds = Field(30, ge=0, description="time to finish running work after SIGTERM")


class BatchSettings(PgSettings, WorkSettings):
    """Settings of a batch job's worker."""

    claim_size: int = Field(20_000, ge=1, le=1_000_000, description="rows a worker claims at once")
    workers: int = Field(8, ge=1, le=1024, description="rows in flight at once, or chunks where the handler takes many")
    claim_timeout_s: Seconds = Field(
        30,
        gt=0,
        description="how long a claim may take, including a restart of PostgreSQL, then exit 1. "
        "PostgreSQL cancels a statement on rows after half of it",
    )
    lease_s: Seconds = Field(
        60,
        ge=1,
        description="a batch without a heartbeat for this long is recovered by others. One is sent every third of it",
    )
    handler_timeout_s: Seconds = Field(
        120, gt=0, description="time for one attempt of the handler at a row, then it counts as failed"
    )
    max_attempts: int = Field(3, ge=1, le=32_767, description="attempts at a row before it has failed permanently")
    retry_step_s: Seconds = Field(60, gt=0, description="the n-th retry waits n times this long, at most 7 days")
    pod_name: str = Field(default_factory=socket.gethostname, description="name of this worker in `batch_jobs`")


class JobSettings(NatsSettings, WorkSettings):
    """Settings of an event job's loop."""

    concurrency: int = Field(8, ge=1, le=1024, description="messages in flight at once")
    handler_timeout_s: Seconds = Field(
        120,
        gt=0,
        description="time for one attempt of the handler without its calls of the store, then it counts as failed",
    )
    retry_max_deliveries: int = Field(
        15, ge=1, le=10_000, description="deliveries before a message becomes a dead letter"
    )
    retry_step_s: Seconds = Field(2460, gt=0, description="the n-th retry waits n times this long, at most 7 days")
    ack_wait_s: Seconds = Field(
        60, ge=0.5, description="the consumer's `ack_wait`. An in-progress signal is sent every third of it"
    )


S = TypeVar("S", bound=Settings)


def load_settings(settings: type[S], **replaced: Any) -> S:
    """Read the settings of that class from the environment, and `replaced` fields from the caller.

    Raises `Misconfigured`, which names each wrong variable.
    """
    try:
        return settings(**replaced)
    except ValidationError as error:
        reasons = [_reason(detail) for detail in error.errors(include_url=False, include_input=False)]
        raise Misconfigured("; ".join(reasons)) from error


def _reason(detail: ErrorDetails) -> str:
    name = ".".join(map(str, detail["loc"])).upper()
    if detail["type"] == "missing":
        return f"{name} is not set"
    text = detail["msg"].removeprefix("Value error, ")
    return f"{name}: {text}" if name else text


def format_settings(settings: Settings) -> str:
    """Format as one line of `NAME=value`. Secrets are masked, and so is a password inside a URL."""
    pairs = ((name.upper(), value) for name, value in settings.model_dump().items() if value is not None)
    return " ".join(f"{name}={re.sub(r'//[^/]*@', '//***@', str(value))}" for name, value in pairs)
