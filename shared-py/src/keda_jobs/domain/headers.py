"""Names of the headers that the framework writes and reads, and the sizes of header blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

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
    SCHEDULE = "Nats-Schedule"
    SCHEDULE_TARGET = "Nats-Schedule-Target"


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
