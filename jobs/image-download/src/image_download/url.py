"""Parser of untrusted URLs, for the event's URL and for every redirect.

Path and query go out as they came in, because servers sign them byte for byte. Only bytes that no URL may contain
(RFC 3986) are escaped. The host is parsed once, and that host is the one that is dialled.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import quote

from yarl import URL

from keda_jobs import Permanent

MAX_LENGTH = 2048
"""Longest accepted URL, in characters."""

_DISPLAYED = 200
_HOST_NAME = re.compile(r"(?:[0-9a-z_-]{1,63}\.)*[0-9a-z_-]{1,63}\.?")
# Python takes more as a port: +80, 8_0 and digits of other scripts.
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::[0-9]*)?")
# RFC 3986, appendix B. Like `_LOCATION`, it matches every text, because each part may be empty.
_REFERENCE = re.compile(r"(?s)(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(?:#.*)?")
_LOCATION = re.compile(r"(?si)(https?:)?([/\\]*)([^?#]*)(.*)")
_BLANKS = "".join(map(chr, range(0x21)))
_LINE_BREAKS = str.maketrans("", "", "\t\r\n")
# Reserved characters and "%". `quote` never escapes the unreserved ones.
_URL_BYTES = ":/?#[]@!$&'()*+,;=%"


class BadUrl(Permanent):
    """The URL, or a redirect's Location, is not acceptable."""


class _Parts(NamedTuple):
    """Parts of a URL or of a relative reference, as written. `query` begins with its question mark."""

    scheme: str
    authority: str
    path: str
    query: str


def parse_url(text: str) -> URL:
    """Parse the http or https URL in `text`. Raises `BadUrl`, which never repeats the URL."""
    _check_length(text)
    _check_characters(text)
    return _build(_split(text))


def resolve(location: str, base: URL) -> URL:
    """Parse the Location of a redirect from `base`, as tolerantly as browsers do. Raises `BadUrl`."""
    _check_length(location)
    parts = _split(_tidy(location, base))
    if parts.scheme or parts.authority:
        return _build(parts._replace(scheme=parts.scheme or base.scheme))
    path, mark, query = base.raw_path.partition("?")
    if parts.path:
        folder = "" if parts.path.startswith("/") else path[: path.rfind("/") + 1]
        path, mark, query = _without_dot_segments(folder + parts.path), "", ""
    return _build(_Parts(base.scheme, base.raw_authority, path, parts.query or mark + query))


def display(url: URL) -> str:
    """Format `url` for logs and errors: as requested, shortened, without its query."""
    return f"{url.origin()}{url.raw_path.partition('?')[0]}"[:_DISPLAYED]


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise BadUrl(f"the URL has {len(text)} characters, more than {MAX_LENGTH}")


def _check_characters(text: str) -> None:
    # yarl drops spaces, tabs and line ends silently: the URL that is checked would not be the one that is requested.
    if not text.isprintable() or " " in text or "\\" in text:
        raise BadUrl("the URL contains a space, a backslash or a control character")


def _split(text: str) -> _Parts:
    return _Parts(*_REFERENCE.findall(text)[0])


def _build(parts: _Parts) -> URL:
    """Build the URL whose path is the request target: path and query. yarl would drop an empty query."""
    if parts.scheme.lower() not in ("http", "https"):
        raise BadUrl("the URL is neither http nor https")
    if "@" in parts.authority:
        raise BadUrl("the URL contains a user name or password")
    _check_characters(parts.authority)
    if not _AUTHORITY.fullmatch(parts.authority):
        raise BadUrl("the URL has no valid host or port")
    try:
        origin = URL(f"{parts.scheme}://{parts.authority}")
        # yarl takes some hosts that it cannot write, such as [①::], which it writes without brackets.
        is_written = URL(str(origin)).raw_host == origin.raw_host
    except ValueError as error:
        raise BadUrl("the URL cannot be parsed") from error
    if not is_written or not _is_host(origin.raw_host or "", in_brackets=parts.authority.startswith("[")):
        raise BadUrl("the URL has no valid host")
    target = quote((parts.path or "/") + parts.query, safe=_URL_BYTES, errors="surrogateescape")
    return origin.with_path(target, encoded=True)


def _is_host(text: str, *, in_brackets: bool) -> bool:
    """Return whether `text` is a host name or an address. yarl takes some that it cannot write."""
    if not in_brackets:
        return _HOST_NAME.fullmatch(text) is not None
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _tidy(location: str, base: URL) -> str:
    """Rewrite what browsers forgive in a Location: blanks around it, backslashes, too many or too few slashes."""
    parts: tuple[str, ...] = _LOCATION.findall(location.strip(_BLANKS).translate(_LINE_BREAKS))[0]
    scheme, slashes, path, rest = parts
    other_scheme = scheme and scheme.lower() != f"{base.scheme}:"
    start = f"{scheme}//" if other_scheme or len(slashes) > 1 else "/" * len(slashes)
    return start + path.replace("\\", "/") + rest


def _without_dot_segments(path: str) -> str:
    """Resolve the segments `.` and `..` of an absolute path (RFC 3986, section 5.2.4)."""
    segments: list[str] = []
    *folders, last = path.removeprefix("/").split("/")
    for folder in folders:
        if folder == "..":
            segments = segments[:-1]
        elif folder != ".":
            segments.append(folder)
    if last == "..":
        segments = segments[:-1]
    return "/" + "/".join([*segments, "" if last in (".", "..") else last])
