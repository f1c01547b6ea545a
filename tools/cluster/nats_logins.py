"""Logins of NATS users in their Secrets. While one is replaced a user has two, of different names, and both are valid.

NATS knows a user once, by name, so the second login of `image-resize` is `image-resize.2`. It has the same rights.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.errors import ClusterError

PUBLISHER = "publisher"
# Applications that send events for later log in as this one.
SCHEDULER = "scheduler"
# People on call log in as this one.
OPERATOR = "operator"
ADMIN = "admin"
# Setup makes servers load their users as this one, of the system account. It may do nothing else.
SYS = "sys"
# Servers of a cluster log in to each other as this one. It is no client.
ROUTES = "routes"
# The CronJob of k8s/kustomize/backup logs in as this one.
BACKUP = "backup"
RESERVED = frozenset({ADMIN, BACKUP, OPERATOR, PUBLISHER, ROUTES, SCHEDULER, SYS})
"""Users that are no jobs."""

_USER = "NATS_USER"
_PASSWORD = "NATS_PASSWORD"
# Before the names of the second login's keys. No setting has such a name.
_OTHER = "OTHER_"
# Needs no quoting, in a URL or in the server's config, where a $ begins a variable or a hash.
_SAFE = re.compile(r"[0-9A-Za-z_-]{32,}")
_RANDOM_BYTES = 32

Place = tuple[str, str]


class BadPassword(ClusterError):
    """A Secret holds no password for NATS. The message does not show it."""


@dataclass(frozen=True, slots=True)
class Login:
    """Name and password. The number counts the replacements."""

    user: str
    password: str
    number: int = 1

    @property
    def name(self) -> str:
        """Name at the server. It is a part of the user's inbox too, as the end of a subject that the user may hear."""
        return self.user if self.number == 1 else f"{self.user}.{self.number}"


Logins = tuple[Login, ...]
"""The login that its Secret shows to clients, then the other one that is valid, if there is one."""


def new_login(user: str, number: int = 1) -> Login:
    """Make a login with a random password."""
    return Login(user, secrets.token_urlsafe(_RANDOM_BYTES), number)


def with_a_new_one(logins: Logins) -> Logins:
    """Add a new login, unless there are two already."""
    shown = logins[0]
    return logins if len(logins) > 1 else (shown, new_login(shown.user, shown.number + 1))


def newest_first(logins: Logins) -> Logins:
    """Show the newest login to clients."""
    return tuple(sorted(logins, key=lambda login: -login.number))


def newest_only(logins: Logins) -> Logins:
    """Give up the older login."""
    return newest_first(logins)[:1]


def read(present: Iterable[Mapping[str, Any]]) -> dict[Place, Logins]:
    """Read the logins of Secrets that exist. Raises `BadPassword`."""
    return {place_of(one): _logins(one) for one in present}


def data(logins: Logins) -> dict[str, str]:
    """Build the values of a user's Secret."""
    found: dict[str, str] = {}
    for prefix, login in zip(("", _OTHER), logins, strict=False):
        found |= {f"{prefix}{_USER}": login.name, f"{prefix}{_PASSWORD}": login.password}
    return found


def place_of(secret: Mapping[str, Any]) -> Place:
    """Return namespace and name."""
    return secret["metadata"]["namespace"], secret["metadata"]["name"]


def _logins(secret: Mapping[str, Any]) -> Logins:
    values = secret.get("data") or {}
    return tuple(_login(secret, prefix) for prefix in ("", _OTHER) if not prefix or f"{prefix}{_PASSWORD}" in values)


def _login(secret: Mapping[str, Any], prefix: str) -> Login:
    user = secret["metadata"]["name"].removeprefix("nats-")
    # Of the name only the number counts, because the Secret may be another's.
    found = re.fullmatch(r"[^.]+\.([1-9][0-9]{0,5})", _decoded(secret, f"{prefix}{_USER}"))
    password = _decoded(secret, f"{prefix}{_PASSWORD}")
    if not _SAFE.fullmatch(password):
        name = "/".join(place_of(secret))
        raise BadPassword(
            f"Secret {name}: {prefix}{_PASSWORD} is not 32 or more of A-Z a-z 0-9 _ -; "
            "delete the Secret to have a new one made"
        )
    return Login(user, password, int(found[1]) if found else 1)


def _decoded(secret: Mapping[str, Any], key: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {})[key], validate=True).decode()
    except (LookupError, TypeError, binascii.Error, UnicodeDecodeError):
        return ""
