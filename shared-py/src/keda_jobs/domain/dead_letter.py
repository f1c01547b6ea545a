"""Dead letters. The body holds the event, the headers say why it died, and both always fit the server's limit."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.event import is_strict_json
from keda_jobs.domain.headers import Header, application_headers, header_bytes
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Dead
from keda_jobs.domain.subjects import DEAD_LETTER

_KEPT_TEXT = 64 * 1024
# Half of what JetStream takes. Our own headers come on top.
_KEPT_HEADERS = 32 * 1024
_FOR_MSG_ID_AND_KIND = 512

# Ours has no blanks. Whatever stands between the colon and the comma is the event, to the byte.
_BODY = re.compile(
    rb'\s*\{\s*"subject"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"data"\s*:(.*),\s*"num_delivered"\s*:\s*(\d{1,18})\s*\}\s*',
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(?:\\|x([0-9a-f]{2}))")


class DataKind(StrEnum):
    """Form of the event in a dead letter, in the header `Keda-Jobs-Data`."""

    JSON = "json"
    """The event is JSON and stands in the body untouched."""
    TEXT = "text"
    """The event is other text, in a string."""
    ESCAPED = "escaped"
    r"""The event is not UTF-8. In a string, with `\xff` for other bytes and `\\` for a backslash."""
    TRUNCATED = "truncated"
    """Data or headers are cut, because they do not fit."""


def dead_letter(message: Message, job: str, dead: Dead, max_payload: int, now: datetime) -> Outgoing:
    r"""Build the dead letter of `message`, never larger than `max_payload`.

    `data` is the original JSON, untouched. Data that is not JSON becomes a string, of its first 64 KiB where the whole
    does not fit. `Keda-Jobs-Data` says which, see `DataKind`. The whole original stays at `Keda-Jobs-Sequence` until
    the stream's `max_age`, and `Keda-Jobs-Sha256` tells it from any other message.
    """
    has_headers = header_bytes(message.headers) <= min(_KEPT_HEADERS, max_payload // 8)
    headers = (dict(message.headers) if has_headers else {}) | {
        "Nats-TTL": "never",
        Header.JOB: job,
        Header.REASON: dead.reason.encode("ascii", "backslashreplace").decode(),
        Header.ERROR_CLASS: dead.error_class.encode("ascii", "backslashreplace").decode(),
        Header.ID: str(message.id),
        # Of the event itself, also after retries.
        Header.SEQUENCE: str(message.id.sequence),
        Header.PUBLISHED_AT: message.id.stored_at.isoformat(),
        Header.DIED_AT: now.isoformat(),
        Header.SHA256: digest(message.data),
    }
    envelope = len(_body(message, b"")) + header_bytes(headers) + _FOR_MSG_ID_AND_KIND
    kind, data = _data(message.data, max_payload - envelope, min(_KEPT_TEXT, max_payload // 16))
    headers[Header.DATA] = kind if has_headers else DataKind.TRUNCATED
    if headers[Header.DATA] == DataKind.TRUNCATED:
        headers[Header.SIZE] = str(len(message.data))
    return Outgoing(DEAD_LETTER, _body(message, data), message.id.msg_id(DEAD_LETTER), headers)


def digest(data: bytes) -> str:
    """Return the SHA-256 of an event's body in hex."""
    return hashlib.sha256(data).hexdigest()


def _body(message: Message, data: bytes) -> bytes:
    subject = json.dumps(message.subject).encode()
    return b'{"subject":%s,"data":%s,"num_delivered":%d}' % (subject, data, message.attempt)


def _data(original: bytes, room: int, kept: int) -> tuple[DataKind, bytes]:
    """Return the kind of data and its JSON. Where that exceeds `room` bytes, it is text of the first `kept` bytes."""
    if len(original) <= room:
        kind, data = _encode(original)
        if len(data) <= room:
            return kind, data
    return DataKind.TRUNCATED, json.dumps(original[:kept].decode(errors="backslashreplace")).encode()


def _encode(original: bytes) -> tuple[DataKind, bytes]:
    if is_strict_json(original):
        return DataKind.JSON, original
    try:
        return DataKind.TEXT, json.dumps(original.decode()).encode()
    except UnicodeDecodeError:
        escaped = original.replace(b"\\", b"\\\\").decode(errors="backslashreplace")
        return DataKind.ESCAPED, json.dumps(escaped).encode()


def _decode(kind: str, data: str) -> bytes | None:
    """Return what `_encode` made `data` of, None where that cannot be told."""
    if kind == DataKind.JSON:
        return data.encode()
    text = _string(data)
    if text is None or kind not in (DataKind.TEXT, DataKind.ESCAPED):
        return None
    encoded = text.encode(errors="surrogatepass")
    return encoded if kind == DataKind.TEXT else _ESCAPE.sub(_unescaped, encoded)


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode()) if match[1] else b"\\"


def _string(data: str) -> str | None:
    """Return the string that `data` is in JSON, if it is one."""
    if not data.lstrip().startswith('"'):
        return None
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Dead letter as stored in the stream under number `sequence`. Fields of one from elsewhere may be empty.

    `raw_data` is JSON as it stands in the body: to parse it would change numbers such as 1.10 and 1e400.
    """

    sequence: int
    died_at: datetime
    subject: str
    raw_data: str
    num_delivered: int
    job: str
    error_class: str
    reason: str
    kind: str
    headers: Mapping[str, str]

    @property
    def data(self) -> Any:
        """Data as a value, or `raw_data` where Python cannot parse it."""
        try:
            return json.loads(self.raw_data)
        except (ValueError, RecursionError):
            return self.raw_data

    @property
    def text(self) -> str:
        """Data for people: the string, or JSON as it is."""
        text = _string(self.raw_data)
        return self.raw_data if text is None else text

    @property
    def original(self) -> bytes | None:
        """Body of the event as it was published, None where the dead letter does not hold it exactly.

        One from elsewhere has no digest. Its JSON is taken as it is.
        """
        expected = self.headers.get(Header.SHA256)
        original = _decode(self.kind, self.raw_data)
        if original is None or (expected is not None and digest(original) != expected):
            return None
        if expected is None:
            return original.strip() if self.kind == DataKind.JSON and is_strict_json(original) else None
        return original

    @property
    def original_headers(self) -> dict[str, str]:
        """Headers that came with the event, without the server's and ours."""
        return application_headers(self.headers)


def parse_dead_letter(sequence: int, stored_at: datetime, body: bytes, headers: Mapping[str, str]) -> DeadLetter:
    """Parse the dead letter stored under `sequence`. A body from elsewhere is kept as it is."""
    subject, data, count = _parse_body(body) or ("", _foreign_data(body), 0)
    return DeadLetter(
        sequence=sequence,
        died_at=stored_at,
        subject=subject,
        raw_data=data,
        num_delivered=count,
        job=headers.get(Header.JOB, ""),
        error_class=headers.get(Header.ERROR_CLASS, ""),
        reason=headers.get(Header.REASON, ""),
        kind=headers.get(Header.DATA, DataKind.JSON),
        headers=dict(headers),
    )


def _parse_body(body: bytes) -> tuple[str, str, int] | None:
    match = _BODY.fullmatch(body)
    if match is None:
        return None
    try:
        return json.loads(match[1].decode()), match[2].decode(), int(match[3])
    except ValueError:
        return None


def _foreign_data(body: bytes) -> str:
    return body.decode() if is_strict_json(body) else json.dumps(body.decode(errors="backslashreplace"))
