"""Settings of the page: from the environment as for the CLI, and from the options of `keda-jobs ui`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, SecretStr

from keda_jobs.errors import Misconfigured
from keda_jobs.settings import NatsSettings

MIN_TOKEN_LENGTH = 16


class ServerSettings(NatsSettings):
    """Addresses of the servers to show."""

    pg_dsn: SecretStr | None = Field(None, description="PostgreSQL with the tables of batch jobs")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the page's own server."""

    listen: str
    port: int
    allow_actions: bool
    token: str | None


def is_loopback(listen: str) -> bool:
    """Return whether nobody outside of this machine, or of this pod, can connect to `listen`."""
    try:
        return ipaddress.ip_address(listen).is_loopback
    except ValueError:
        return listen == "localhost"


def read_token(file: Path) -> str:
    """Read the token that viewers have to type in. Raises `Misconfigured`."""
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Misconfigured(f"--token-file {file} cannot be read: {reason}") from error
    if len(token) < MIN_TOKEN_LENGTH:
        raise Misconfigured(
            f"--token-file {file}: the token has {len(token)} characters, at least {MIN_TOKEN_LENGTH} are needed; "
            f"make one with `openssl rand -hex 24 > {file}`"
        )
    return token
