"""URLs in settings: split and checked, with no part of a password in an error."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

ESCAPING = "write characters such as @ : / # ? % in user and password as %40 and so on"


def split(text: str, *schemes: str) -> SplitResult | None:
    """Split a URL of one of the `schemes`. Return None for anything else.

    No error of the parser gets out: its text may contain a part of the password.
    """
    try:
        url = urlsplit(text)
    except ValueError:
        return None
    # An @ further right belongs to a password with a slash, a question mark or a hash.
    return None if url.scheme not in schemes or "@" in url.path + url.query + url.fragment else url


def _names_a_host(url: SplitResult | None) -> bool:
    """Return whether `url` has a host that can be looked up, and no impossible port."""
    try:
        host = (url.hostname if url else None) or ""
        host.encode("idna")
        return bool(host) and not re.search(r"\s", host) and url is not None and url.port != 0
    except ValueError:  # UnicodeError is one
        return False


def check_http_url(text: str) -> str:
    """Return the URL of an HTTP server. Raises `ValueError`."""
    if not _names_a_host(split(text, "http", "https")) or re.search("[@?#]", text):
        raise ValueError("must be a URL such as https://host:443, without user, password, query and fragment")
    return text


def check_nats_servers(text: str) -> str:
    """Return the URLs of NATS servers, separated by commas, with the scheme where it was left out.

    Raises `ValueError`.
    """
    texts = [part.strip() for part in text.split(",") if part.strip()]
    texts = [part if "://" in part else f"nats://{part}" for part in texts]
    urls = [url for part in texts if (url := _nats_server(part))]
    if not urls or len(urls) < len(texts):
        raise ValueError(f"must be URLs such as nats://host:4222, separated by commas; {ESCAPING}")
    if len({url.scheme in ("ws", "wss") for url in urls}) > 1:
        raise ValueError("must be all WebSocket URLs, or none")
    if len({(url.username, url.password) for url in urls}) > 1:
        raise ValueError("must name one user for all servers; set NATS_USER and NATS_PASSWORD instead")
    return ",".join(texts)


def _nats_server(text: str) -> SplitResult | None:
    url = split(text, "nats", "tls", "ws", "wss")
    if url is None or not _names_a_host(url):
        return None
    return url if url.scheme in ("ws", "wss") or url.path in ("", "/") else None
