"""Settings of the exporter."""

from __future__ import annotations

from pydantic import Field, SecretStr

from keda_jobs.settings import NatsSettings, ProcessSettings


class Settings(NatsSettings, ProcessSettings):
    """What `python -m exporter` reads from the environment; `PG_DSN` is read by `PgSettings` where it is set."""

    pg_dsn: SecretStr | None = Field(
        None, description="PostgreSQL, as `postgresql://user:password@host:port/database`; no queue is read without it"
    )
    nats_monitoring_url: str | None = Field(
        None,
        description="a NATS server's monitoring, as `http://host:8222`; JetStream's storage is not told without it",
        pattern=r"^https?://",
    )
