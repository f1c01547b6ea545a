"""Settings of the exporter."""

from __future__ import annotations

from pydantic import Field, SecretStr

from keda_jobs.settings import HttpUrl, NatsSettings, ProcessSettings


class Settings(NatsSettings, ProcessSettings):
    """Settings of the exporter. `PgSettings` reads `PG_DSN` where it is set."""

    pg_dsn: SecretStr | None = Field(
        None, description="PostgreSQL, as `postgresql://user:password@host:port/database`. Without it no queue is read"
    )
    nats_monitoring_url: HttpUrl | None = Field(
        None,
        description="monitoring of a NATS server, as `http://host:8222`. Without it the server's storage and "
        "certificate are unknown, and which stream has no leader or cannot be written",
    )
