"""Settings from the environment: one class per concern, validated at start, printed with secrets masked."""

from __future__ import annotations

import logging
import os
import re
import socket
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from keda_jobs import tls, urls
from keda_jobs.address import CleanModel, NatsAddress, check_both_or_neither, format_reasons
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


HttpUrl = Annotated[str, AfterValidator(urls.check_http_url)]
"""URL of an HTTP server."""


log = logging.getLogger(__name__)


class Settings(CleanModel, BaseSettings):
    """Base: each field is the environment variable of its name in upper case, or such a file in `SECRETS_DIR`."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)
    _given: dict[str, Any] | None = PrivateAttr(None)

    def __init__(self, **given: Any) -> None:
        super().__init__(_secrets_dir=os.environ.get("SECRETS_DIR") or None, **given)
        self._given = given

    def reread(self) -> Self:
        """Read again, before a login: a mounted Secret changes in place. What is wrong now leaves them as they are."""
        if self._given is None:  # built by `model_construct`
            return self
        try:
            return load_settings(type(self), **self._given)
        except Misconfigured as error:
            log.warning("the settings of before are used, because those of now are wrong: %s", error)
            return self


class NatsSettings(Settings, NatsAddress):
    """Address of NATS and the user there."""


POD_IDENTITY = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
"""Variables that the cluster sets in a pod with an identity: a role of its ServiceAccount, or EKS Pod Identity."""


class StoreSettings(Settings):
    """S3 bucket, Cloudflare R2 by default."""

    r2_endpoint_url: HttpUrl | None = Field(None, description="S3 endpoint, derived from `R2_ACCOUNT_ID` if not set")
    r2_account_id: str | None = Field(
        None, description="Cloudflare account, may replace `R2_ENDPOINT_URL`", pattern=r"^[0-9A-Za-z]+$"
    )
    r2_access_key_id: str | None = Field(
        None,
        description="access key. Without it and its secret the pod's identity is used: see docs/bring-your-own.md",
        validate_default=True,
    )
    r2_secret_access_key: SecretStr | None = Field(None, description="secret of the access key")
    r2_region: str = Field("auto", description="region of the bucket. R2 has only `auto`", pattern=r"^[0-9a-z-]+$")
    aws_ca_bundle: tls.CaFile | None = Field(None, description="file with the CA that signed the store's certificate")
    r2_bucket: str = Field(description="bucket", min_length=3, max_length=63, pattern=r"^[0-9A-Za-z._-]+$")

    @model_validator(mode="after")
    def _some_endpoint(self) -> Self:
        if self.r2_endpoint_url is None and self.r2_account_id is None:
            raise ValueError("R2_ENDPOINT_URL (or R2_ACCOUNT_ID) is not set")
        return self

    @field_validator("r2_access_key_id")
    @classmethod
    def _some_keys(cls, key: str | None) -> str | None:
        if key is None and not any(os.environ.get(name) for name in POD_IDENTITY):
            raise ValueError(
                "not set, and this pod has no identity that replaces it "
                f"({' or '.join(POD_IDENTITY)}); set it and R2_SECRET_ACCESS_KEY"
            )
        return key

    @model_validator(mode="after")
    def _keys_are_complete(self) -> Self:
        check_both_or_neither(self, "r2_access_key_id", "r2_secret_access_key")
        if self.r2_access_key_id is None and self.r2_region == "auto":
            raise ValueError("R2_REGION is not set, which the pod's identity needs; set the bucket's region")
        return self

    @property
    def endpoint_url(self) -> str:
        """S3 endpoint."""
        return self.r2_endpoint_url or f"https://{self.r2_account_id}.r2.cloudflarestorage.com"


class PgSettings(Settings):
    """Address of PostgreSQL and the user there."""

    pg_dsn: SecretStr = Field(description="PostgreSQL, as `postgresql://user:password@host:port/database`")
    pgpassword: SecretStr | None = Field(None, description="password, where `PG_DSN` has none")

    @field_validator("pg_dsn")
    @classmethod
    def _is_a_url(cls, dsn: SecretStr) -> SecretStr:
        if urls.split(dsn.get_secret_value(), "postgresql", "postgres") is None:
            raise ValueError(f"must be a URL such as postgresql://user:password@host:5432/database; {urls.ESCAPING}")
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
    idle_s: Seconds = Field(
        0, ge=0, description="how long a worker that has had rows waits for new ones, before it ends"
    )
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
    slo_objective: float = Field(
        99, ge=90, lt=100, description="percent of the events that are done within `SLO_WITHIN_S`. See docs/slo.md"
    )
    slo_within_s: Seconds = Field(300, gt=0, description="time from the first publish of an event to its ack")


class LongSettings(JobSettings):
    """Settings of a long job's process, which works on one message."""

    concurrency: int = Field(1, ge=1, le=1, description="a process works on one message, so it cannot be more")
    handler_timeout_s: Seconds = Field(
        24 * 3600,
        gt=0,
        description="time for one attempt of the handler without its calls of the store, then it counts as failed",
    )


S = TypeVar("S", bound=Settings)


def load_settings(settings: type[S], **replaced: Any) -> S:
    """Read the settings of that class from the environment and its files, and `replaced` fields from the caller.

    Raises `Misconfigured`, which names each wrong variable.
    """
    folder = os.environ.get("SECRETS_DIR")
    if folder and not os.path.isdir(folder):  # noqa: PTH112 (a name may be too long)
        raise Misconfigured(f"SECRETS_DIR: there is no folder {folder}; mount the Secrets there")
    try:
        return settings(**replaced)
    except SettingsError as error:  # such as bytes that are not UTF-8
        raise Misconfigured(f"SECRETS_DIR: a file in {folder} cannot be read: {error}") from error
    except ValidationError as error:
        raise Misconfigured(format_reasons(error)) from error


def format_settings(settings: Settings) -> str:
    """Format as one line of `NAME=value`. Secrets are masked, and so is a password inside a URL."""
    pairs = ((name.upper(), value) for name, value in settings.model_dump().items() if value is not None)
    return " ".join(f"{name}={re.sub(r'//[^/]*@', '//***@', str(value))}" for name, value in pairs)
