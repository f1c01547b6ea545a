"""PG_DSN, a URL written for libpq, as arguments of asyncpg."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from keda_jobs import tls
from keda_jobs.errors import Misconfigured

# URL parameters that tune libpq itself. asyncpg would send them to the server, which rejects them.
_LIBPQ_ONLY = {
    "connect_timeout", "fallback_application_name", "gssencmode", "keepalives", "keepalives_count", "keepalives_idle",
    "keepalives_interval", "load_balance_hosts", "max_protocol_version", "min_protocol_version", "sslcertmode",
    "sslcompression", "sslsni", "tcp_user_timeout",
}  # fmt: skip
# Parameters that ask for a protection asyncpg cannot give, and the values that do not ask for it.
_UNSUPPORTED = {"channel_binding": ("prefer", "disable"), "require_auth": (), "requirepeer": (), "hostaddr": ()}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


def arguments(dsn: str, password: str | None = None) -> dict[str, Any]:
    """Return the arguments of asyncpg for `dsn`, with `password` where it has none.

    Raises `Misconfigured`, and `ValueError` for what is no URL.
    """
    url = urlsplit(dsn)
    parameters = dict(parse_qsl(url.query, keep_blank_values=True))
    if password is not None:
        parameters.setdefault("password", password)  # one before the host wins, in asyncpg as in libpq
    for name, accepted in _UNSUPPORTED.items():
        if parameters.pop(name, None) not in (None, *accepted):
            raise Misconfigured(f"PG_DSN: {name} is not supported; leave it out and set sslmode=verify-full")
    _find_authorities(parameters)
    _check_files(parameters)
    timeout = {} if "connect_timeout" not in parameters else {"timeout": float(parameters["connect_timeout"]) or None}
    query = urlencode({name: value for name, value in parameters.items() if name not in _LIBPQ_ONLY})
    # asyncpg takes the first @ for the end of the password, libpq the last one.
    login, at, hosts = url.netloc.rpartition("@")
    netloc = f"{login.replace('@', '%40')}{at}{hosts}"
    return timeout | {"dsn": url._replace(netloc=netloc, query=query).geturl()}


def _find_authorities(parameters: dict[str, str]) -> None:
    """Set the file of authorities where libpq finds it. Where it finds none, `verify-full` means the system's.

    Raises `Misconfigured`.
    """
    given = parameters.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if given is None and parameters.get("sslmode") == "verify-full" and not _is_in_home("root.crt"):
        given = "system"
    if given == "system":
        if parameters.setdefault("sslmode", "verify-full") != "verify-full":
            raise Misconfigured("PG_DSN: the system's certificates need sslmode=verify-full: anybody can have one")
        given = ssl.get_default_verify_paths().cafile or "with the system's certificates"
    if given is not None:
        parameters["sslrootcert"] = given


def _is_in_home(name: str) -> bool:
    try:
        return (Path.home() / ".postgresql" / name).is_file()
    except RuntimeError:  # there is no home
        return False


def _check_files(parameters: dict[str, str]) -> None:
    for name in _FILES:
        if name in parameters and not os.path.isfile(parameters[name]):  # noqa: PTH113 (a name may be too long)
            raise Misconfigured(f"PG_DSN: {name}: there is no file {parameters[name]}")
    try:
        if "sslrootcert" in parameters:
            tls.check_ca(Path(parameters["sslrootcert"]))
    except ValueError as error:
        raise Misconfigured(f"PG_DSN: sslrootcert: {error}") from error
