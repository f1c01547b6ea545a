"""PG_DSN taken apart: what pods and KEDA are told of it, and which service of the cluster it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from cluster.errors import ClusterError

_FORM = "postgresql://owner:password@host:5432/database?sslmode=require"
# What needs no quoting, neither in a URL nor for KEDA.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_LOOPBACK = re.compile(r"localhost|127\..*")
_SERVICE = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc(\.cluster\.local)?")


@dataclass(frozen=True, slots=True)
class Database:
    """Where PostgreSQL is, who owns the database, and the URL it was read from."""

    host: str
    port: int
    name: str
    sslmode: str
    user: str
    password: str
    url: SplitResult

    @property
    def service(self) -> tuple[str, str] | None:
        """Name and namespace of the service, when the host is one of the cluster's."""
        found = _SERVICE.fullmatch(self.host)
        return (found[1], found[2]) if found else None

    @property
    def is_loopback(self) -> bool:
        """Whether a pod that connects to the host would connect to itself."""
        return bool(_LOOPBACK.fullmatch(self.host))

    def by_port(self, port: int) -> str:
        """The URL with 127.0.0.1 and `port` in place of host and port."""
        user, at, _ = self.url.netloc.rpartition("@")
        return self.url._replace(netloc=f"{user}{at}127.0.0.1:{port}").geturl()


def read(dsn: str) -> Database:
    """`dsn` taken apart. Raises `ClusterError`, which shows no part of it but host and database."""
    try:
        url = urlsplit(dsn)
        host, port = url.hostname or "", url.port or 5432
    except ValueError:  # its text may hold a part of the password
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
