"""Servers and login of a connection to NATS, as options of nats-py."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from nats.aio.client import RawCredentials

from keda_jobs.address import NatsAddress
from keda_jobs.errors import Misconfigured
from keda_jobs.tls import client_context

_LONGEST_CREDENTIALS = 1024 * 1024
_JWT = re.compile(r"-BEGIN NATS USER JWT-+\s+([\w-]+\.[\w-]+\.[\w-]+)\s")
_SEED = re.compile(r"-BEGIN USER NKEY SEED-+\s+(SU[A-Z2-7]{56})\s")


def server_urls(address: NatsAddress) -> list[str]:
    """Return the URLs of NATS_URL without user and password, so that no error of a library shows them."""
    return [re.sub(r"//[^/]*@", "//", url) for url in address.nats_url.split(",")]


def inbox_prefix(user: str) -> str:
    """Return the inbox of a user. Characters that a subject cannot have become `_`."""
    return "_INBOX_" + re.sub(r"[\s*>]", "_", user)


def login(address: NatsAddress) -> dict[str, Any]:
    """Build the options that prove who connects, and to whom. Raises `Misconfigured`.

    They hold for every server, also for those that a cluster announces. nats-py would take the user of a URL for this
    URL only, with its percent escapes.
    """
    options = _user(address)
    if address.nats_creds is not None:
        options["user_credentials"] = read_credentials(address.nats_creds)
    if address.nats_tls_ca is not None or address.nats_tls_cert is not None:
        options["tls"] = client_context(address.nats_tls_ca, address.nats_tls_cert, address.nats_tls_key)
    return options


def key_of_login(address: NatsAddress) -> bytes:
    """Return 32 bytes that nobody knows who has not the secret of this login. Raises `Misconfigured`."""
    options = login(address)
    secrets = [str(options[name]) for name in ("password", "token", "user_credentials") if name in options]
    if address.nats_tls_key is not None:
        secrets.append(address.nats_tls_key.read_text())
    return hashlib.blake2b("\n".join(secrets).encode(), digest_size=32).digest()


def _user(address: NatsAddress) -> dict[str, Any]:
    if address.nats_user is not None and address.nats_password is not None:
        return {"user": address.nats_user, "password": address.nats_password.get_secret_value()}
    url = urlsplit(address.nats_url.split(",")[0])
    if url.username is None:
        return {}
    user = unquote(url.username)
    return {"token": user} if url.password is None else {"user": user, "password": unquote(url.password)}


def read_credentials(path: Path) -> RawCredentials:
    """Read JWT and seed from a credentials file, as `nsc` writes it. Raises `Misconfigured`.

    nats-py never returns from a file without a JWT.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_CREDENTIALS).decode(errors="replace") + "\n"
    except OSError as error:
        raise Misconfigured(f"NATS_CREDS: {path} cannot be read: {error.strerror}") from error
    jwt, seed = _JWT.search(text), _SEED.search(text)
    if jwt is None or seed is None or not _is_seed(seed[1]):
        what = "JWT" if jwt is None else "seed"
        raise Misconfigured(f"NATS_CREDS: {path} holds no valid user {what}; write it again with `nsc generate creds`")
    return RawCredentials(
        f"-----BEGIN NATS USER JWT-----\n{jwt[1]}\n------END NATS USER JWT------\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed[1]}\n------END USER NKEY SEED------\n"
    )


def _is_seed(seed: str) -> bool:
    """Return whether `seed` is intact: its end is a checksum of the rest, which nkeys writes and never reads."""
    import nkeys  # takes a tenth of a second, and few connections need it

    try:
        prefix, raw = nkeys.decode_seed(bytearray(seed, "ascii"))
        return bool(nkeys.encode_seed(bytes(raw), prefix) == seed.encode())
    except (nkeys.NkeysError, ValueError):
        return False
