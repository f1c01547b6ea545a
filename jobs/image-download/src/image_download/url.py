"""Parser of untrusted URLs, for the event's URL and for every redirect."""

from __future__ import annotations

import re

from yarl import URL

from keda_jobs import Permanent

MAX_LENGTH = 2048
"""Longest accepted URL, in characters."""

_DISPLAYED = 200
_HOST = re.compile(r"(?:[0-9a-z_-]{1,63}\.)*[0-9a-z_-]{1,63}\.?|[0-9a-f.]*:[0-9a-f.:]*")


class BadUrl(Permanent):
    """The URL, or a redirect's Location, is not acceptable."""


def parse_url(text: str, base: URL | None = None) -> URL:
    """Parse the http or https URL in `text`, relative to `base`. Raises `BadUrl`, which never repeats the URL."""
    if len(text) > MAX_LENGTH:
        raise BadUrl(f"the URL has {len(text)} characters, more than {MAX_LENGTH}")
    # yarl drops spaces, tabs and line ends silently: the URL that is checked would not be the one that is requested.
    if not text.isprintable() or " " in text or "\\" in text:
        raise BadUrl("the URL contains a space, a backslash or a control character")
    try:
        url = URL(text) if base is None else base.join(URL(text))
    except ValueError as error:
        raise BadUrl("the URL cannot be parsed") from error
    _check(url)
    return url


def display(url: URL) -> str:
    """Format `url` for logs and errors: escaped, shortened, without userinfo, query and fragment."""
    return f"{url.origin()}{url.raw_path}"[:_DISPLAYED]


def _check(url: URL) -> None:
    if url.scheme not in ("http", "https"):
        raise BadUrl("the URL is neither http nor https")
    if url.raw_user is not None or url.raw_password is not None:
        raise BadUrl("the URL contains a user name or password")
    if _HOST.fullmatch(url.raw_host or "") is None:
        raise BadUrl("the URL has no valid host")
