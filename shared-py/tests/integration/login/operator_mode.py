"""NATS server in operator mode: keys, and the JWTs of operator, account and users."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

import nkeys


@dataclass(frozen=True)
class Key:
    """Key pair with its seed and its public name."""

    prefix: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "_raw", os.urandom(32))

    @property
    def seed(self) -> str:
        seed = nkeys.encode_seed(vars(self)["_raw"], self.prefix)
        return str(seed.decode())

    @property
    def pair(self) -> Any:
        return nkeys.from_seed(bytearray(self.seed, "ascii"))

    @property
    def name(self) -> str:
        return str(self.pair.public_key.decode())


def operator() -> Key:
    return Key(nkeys.PREFIX_BYTE_OPERATOR)


def account() -> Key:
    return Key(nkeys.PREFIX_BYTE_ACCOUNT)


def user() -> Key:
    return Key(nkeys.PREFIX_BYTE_USER)


def jwt(issuer: Key, subject: Key, kind: str, claims: dict[str, Any], **more: Any) -> str:
    """Sign claims about `subject`."""
    body = {"iss": issuer.name, "sub": subject.name, "name": kind, "iat": 1_700_000_000} | more
    body["nats"] = claims | {"type": kind, "version": 2}
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, body]
    signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_base64(issuer.pair.sign(signed.encode()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


_UNLIMITED = {"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1}
_STORAGE = {"wildcards": True, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


class OperatorMode:
    """Operator with one account, which may use JetStream."""

    def __init__(self) -> None:
        self.operator, self.account, self.system = operator(), account(), account()

    def config(self) -> str:
        """Return what the server's configuration needs."""
        operator_jwt = jwt(self.operator, self.operator, "operator", {"system_account": self.system.name})
        system = jwt(self.operator, self.system, "account", {"limits": _UNLIMITED})
        mine = jwt(self.operator, self.account, "account", {"limits": _UNLIMITED | _STORAGE})
        return (
            f"operator: {operator_jwt}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {self.system.name}: {system}\n{self.account.name}: {mine} }}"
        )

    def credentials(self, rights: dict[str, Any] | None = None, **claims: Any) -> tuple[str, str]:
        """Return JWT and seed of a new user, who may do everything without `rights`."""
        key = user()
        limits = {"subs": -1, "data": -1, "payload": -1}
        return jwt(self.account, key, "user", limits | (rights or {}), **claims), key.seed


def creds_file(token: str, seed: str, newline: str = "\n") -> str:
    """Format a credentials file as `nsc` does."""
    lines = [
        "-----BEGIN NATS USER JWT-----", token, "------END NATS USER JWT------", "",
        "************************* IMPORTANT *************************",
        "NKEY Seed printed below can be used to sign and prove identity.", "",
        "-----BEGIN USER NKEY SEED-----", seed, "------END USER NKEY SEED------", "",
    ]  # fmt: skip
    return newline.join(lines)
