"""Servers and login of a connection to NATS, from the settings to the options of nats-py."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from nats.aio.client import RawCredentials

from keda_jobs.errors import Misconfigured
from keda_jobs.settings import NatsSettings

_LONGEST_CREDENTIALS = 1024 * 1024
_JWT = re.compile(r"-BEGIN NATS USER JWT-+\s+([\w-]+\.[\w-]+\.[\w-]+)\s")
_SEED = re.compile(r"-BEGIN USER NKEY SEED-+\s+(SU[A-Z2-7]{56})\s")


def server_urls(settings: NatsSettings) -> list[str]:
    """Return the URLs of NATS_URL without user and password, so that no error of a library shows them."""
    return [re.sub(r"//[^/]*@", "//", url) for url in settings.nats_url.split(",")]


def inbox_prefix(user: str) -> str:
    """Return the inbox of a user. Characters that a subject cannot have become `_`."""
    return "_INBOX_" + re.sub(r"[\s*>]", "_", user)


def login(settings: NatsSettings) -> dict[str, Any]:
    """Build the options that prove who connects, and to whom. Raises `Misconfigured`.

    They hold for every server, also for those that a cluster announces. nats-py would take the user of a URL for this
    URL only, with its percent escapes.
    """
    options = _user(settings)
    if settings.nats_creds is not None:
        options["user_credentials"] = read_credentials(settings.nats_creds)
    if settings.nats_tls_ca is not None:
        options["tls"] = ssl.create_default_context(cafile=settings.nats_tls_ca)
    return options


def _user(settings: NatsSettings) -> dict[str, Any]:
    if settings.nats_user is not None and settings.nats_password is not None:
        return {"user": settings.nats_user, "password": settings.nats_password.get_secret_value()}
    url = urlsplit(settings.nats_url.split(",")[0])
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
