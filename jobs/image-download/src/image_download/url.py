"""Reading URLs of strangers: one parser for the event's URL and for every redirect."""

from __future__ import annotations

import re

from yarl import URL

from keda_jobs import Permanent

MAX_LENGTH = 2048
"""The longest URL that is accepted, in characters."""

_DISPLAYED = 200
_HOST = re.compile(r"(?:[0-9a-z_-]{1,63}\.)*[0-9a-z_-]{1,63}\.?|[0-9a-f.]*:[0-9a-f.:]*")


class BadUrl(Permanent):
    """The URL, or a redirect's Location, is not one that downloads accept."""


def parse_url(text: str, base: URL | None = None) -> URL:
    """The absolute http or https URL in `text`, relative to `base`. Raises `BadUrl`, never repeating the URL."""
    if len(text) > MAX_LENGTH:
        raise BadUrl(f"the URL has {len(text)} characters, more than {MAX_LENGTH}")
    # yarl drops blanks, tabs and line ends silently, so what was checked would not be what is asked for.
    if not text.isprintable() or " " in text or "\\" in text:
        raise BadUrl("the URL holds a blank, a back-slash or a control character")
    try:
        url = URL(text) if base is None else base.join(URL(text))
    except ValueError as error:
        raise BadUrl("the URL cannot be read") from error
    return _accepted(url)


def display(url: URL) -> str:
    """`url` for logs and error texts: escaped, without userinfo, query and fragment, of bounded length."""
    return f"{url.origin()}{url.raw_path}"[:_DISPLAYED]


def _accepted(url: URL) -> URL:
    if url.scheme not in ("http", "https"):
        raise BadUrl("the URL is neither http nor https")
    if url.raw_user is not None or url.raw_password is not None:
        raise BadUrl("the URL holds a user name or password")
    if _HOST.fullmatch(url.raw_host or "") is None:
        raise BadUrl("the URL names no valid host")
    return url
