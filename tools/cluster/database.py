"""Database in PG_DSN: its parts for pods and KEDA, the service that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from cluster.errors import ClusterError

OPERATORS_DATABASE = "postgres-operator"
"""Secret with the database for people on call."""

_FORM = "postgresql://owner:password@host:5432/database?sslmode=require"
# Needs no quoting, in a URL or for KEDA.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_LOOPBACK = re.compile(r"localhost|127\..*")
_SERVICE = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc(\.cluster\.local)?")


@dataclass(frozen=True, slots=True)
class Database:
    """Address of PostgreSQL, owner of the database, and the original URL."""

    host: str
    port: int
    name: str
    sslmode: str
    user: str
    password: str
    url: SplitResult

    @property
    def service(self) -> tuple[str, str] | None:
        """Name and namespace of the cluster's service, None for another host."""
        return service_of(self.host)

    @property
    def is_loopback(self) -> bool:
        """True when a pod that connects to the host connects to itself."""
        return bool(_LOOPBACK.fullmatch(self.host))

    def on_local_port(self, port: int) -> str:
        """Return the URL of the end of a port-forward at `port`.

        Kubernetes says which service is at the other end, so its certificate need not name 127.0.0.1.
        """
        query = self.url.query.replace("sslmode=verify-full", "sslmode=verify-ca")
        return on_local_port(self.url._replace(query=query), port)


def on_local_port(url: SplitResult, port: int) -> str:
    """Return `url` with 127.0.0.1 and `port` instead of host and port."""
    user, at, _ = url.netloc.rpartition("@")
    return url._replace(netloc=f"{user}{at}127.0.0.1:{port}").geturl()


def service_of(host: str) -> tuple[str, str] | None:
    """Return name and namespace of the cluster's service at `host`, None for another host."""
    found = _SERVICE.fullmatch(host)
    return (found[1], found[2]) if found else None


def read(dsn: str) -> Database:
    """Parse `dsn`. Raises `ClusterError`, whose message shows only host and database."""
    try:
        url = urlsplit(dsn)
        host, port = url.hostname or "", url.port or 5432
    except ValueError:  # its message may contain a part of the password
        raise ClusterError(
            f"PG_DSN cannot be read as {_FORM}; write @ : / # ? % in a password as %40 and so on"
        ) from None
    if url.scheme not in ("postgresql", "postgres") or not (url.username and url.password):
        raise ClusterError(f"PG_DSN must be of the form {_FORM}, with user and password of the database's owner")
    name = url.path.removeprefix("/")
    for what, value in (("host", host), ("database", name)):
        if not _PLAIN.fullmatch(value):
            raise ClusterError(f"PG_DSN: the {what} must be one of letters, digits and . _ - in {_FORM}")
    sslmode = parse_qs(url.query).get("sslmode", [""])[0]
    if sslmode not in _SSL_MODES:
        raise ClusterError(f"PG_DSN: end it with ?sslmode=require, or another of {', '.join(_SSL_MODES)}")
    return Database(host, port, name, sslmode, unquote(url.username), unquote(url.password), url)


def trusting(dsn: str, authorities: str | None) -> str:
    """Return `dsn` with the file of authorities, unless it names one or there is none."""
    if authorities is None or "sslrootcert=" in dsn:
        return dsn
    return f"{dsn}{'&' if '?' in dsn else '?'}sslrootcert={authorities}"
