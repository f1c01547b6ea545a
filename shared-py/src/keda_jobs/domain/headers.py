"""Header blocks: parsing, the names of our own headers, and sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

_FIRST_LINE = re.compile(rb"NATS/1\.0(?: +([0-9]{3})(?: +(.*))?)? *", re.DOTALL)
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_RESERVED = ("nats-", "keda-jobs-")
# A client may republish a header whose name HTTP would accept.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Header(StrEnum):
    """Header of retries and dead letters."""

    ID = "Keda-Jobs-Id"
    ATTEMPT = "Keda-Jobs-Attempt"
    SUBJECT = "Keda-Jobs-Subject"
    JOB = "Keda-Jobs-Job"
    REASON = "Keda-Jobs-Reason"
    ERROR_CLASS = "Keda-Jobs-Error-Class"
    SEQUENCE = "Keda-Jobs-Sequence"
    PUBLISHED_AT = "Keda-Jobs-Published-At"
    DIED_AT = "Keda-Jobs-Died-At"
    DATA = "Keda-Jobs-Data"
    SIZE = "Keda-Jobs-Size"
    SHA256 = "Keda-Jobs-Sha256"
    SCHEDULE = "Nats-Schedule"
    SCHEDULE_TARGET = "Nats-Schedule-Target"
    SCHEDULE_TIME_ZONE = "Nats-Schedule-Time-Zone"


def at_schedule(due: datetime) -> str:
    """Return the value of `Header.SCHEDULE` for one time, `due`."""
    return f"@at {due.astimezone(UTC).isoformat(timespec='microseconds').replace('+00:00', 'Z')}"


class Headers(dict[str, str]):
    """Header block as it was received: its fields by name, the last one of each name, and what its first line says.

    Names are tokens of ASCII. Values are text on one line. `status` comes from the first line, where the server writes
    one in some of its answers. A field `Status` is no status.
    """

    status: str = ""
    description: str = ""
    readable: bool = True
    """False where the first line is none of a header block. The other lines may still have fields."""

    @classmethod
    def parse(cls, block: bytes) -> Self:
        """Read any bytes that a server delivers as a header block. Leave out lines that are no field."""
        headers = cls()
        first, *lines = block.split(b"\r\n")
        match = _FIRST_LINE.fullmatch(first)
        if match is None or not lines:
            headers.readable = False
        elif match[1] is not None:
            headers.status, headers.description = match[1].decode(), _text(match[2] or b"")
        for line in lines:
            name, colon, value = line.partition(b":")
            if colon and _HEADER_NAME.fullmatch(key := name.decode("latin-1")):
                headers[key] = _text(value)
        return headers


def _text(value: bytes) -> str:
    r"""Return `value` as text on one line. Other bytes than UTF-8 and control characters appear as `\xff`."""
    text = value.strip(b" \t").decode(errors="backslashreplace")
    return text if text.isprintable() else _CONTROL.sub(lambda character: ascii(character[0])[1:-1], text)


def application_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return `headers` without the server's and ours. A republished `Nats-*` header can delete a schedule."""
    return {
        name: value
        for name, value in headers.items()
        if _HEADER_NAME.fullmatch(name) and not name.lower().startswith(_RESERVED)
    }


def header_bytes(headers: Mapping[str, str]) -> int:
    """Return the size of `headers` on the wire, in bytes: `NATS/1.0` CRLF, `name: value` CRLF each, CRLF."""
    if not headers:
        return 0
    return 12 + sum(len(name.encode()) + len(str(value).encode()) + 4 for name, value in headers.items())
