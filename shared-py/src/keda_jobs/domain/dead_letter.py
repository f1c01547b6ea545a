"""Dead letters. The body holds the event, the headers say why it died, and both always fit the server's limit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.event import InvalidEvent, check_strict_json
from keda_jobs.domain.headers import Header, application_headers, header_bytes
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Dead
from keda_jobs.domain.subjects import DEAD_LETTER

_KEPT_TEXT = 64 * 1024
# Half of what JetStream takes. Our own headers come on top.
_KEPT_HEADERS = 32 * 1024
_FOR_MSG_ID_AND_KIND = 512

TRUNCATED = "truncated"


def dead_letter(message: Message, job: str, dead: Dead, max_payload: int, now: datetime) -> Outgoing:
    r"""Build the dead letter of `message`, never larger than `max_payload`.

    `data` is the original JSON, untouched. Data that is not JSON, or does not fit, becomes a string: its first 64 KiB,
    with bytes that are not UTF-8 as `\xff`. `Keda-Jobs-Data` says which (`json`, `text`, `truncated`). The whole
    original stays at `Keda-Jobs-Sequence` in the stream until the stream's `max_age`.
    """
    headers = dict(message.headers) if header_bytes(message.headers) <= min(_KEPT_HEADERS, max_payload // 8) else {}
    headers |= {
        "Nats-TTL": "never",
        Header.JOB: job,
        Header.REASON: dead.reason.encode("ascii", "backslashreplace").decode(),
        Header.ERROR_CLASS: dead.error_class.encode("ascii", "backslashreplace").decode(),
        Header.ID: message.id,
        Header.SEQUENCE: str(message.sequence),
        Header.PUBLISHED_AT: message.published_at.isoformat(),
        Header.DIED_AT: now.isoformat(),
    }
    envelope = len(_body(message, b"")) + header_bytes(headers) + _FOR_MSG_ID_AND_KIND
    headers[Header.DATA], data = _data(message.data, max_payload - envelope, min(_KEPT_TEXT, max_payload // 16))
    if headers[Header.DATA] == TRUNCATED:
        headers[Header.SIZE] = str(len(message.data))
    return Outgoing(DEAD_LETTER, _body(message, data), f"{message.id}:{DEAD_LETTER}", headers)


def _body(message: Message, data: bytes) -> bytes:
    subject = json.dumps(message.subject).encode()
    return b'{"subject":%s,"data":%s,"num_delivered":%d}' % (subject, data, message.attempt)


def _data(original: bytes, room: int, kept: int) -> tuple[str, bytes]:
    """Return the kind of data and its JSON. Data above `room` bytes becomes text of its first `kept` bytes."""
    if len(original) <= room and _is_json(original):
        return "json", original
    text = json.dumps(original[:kept].decode(errors="backslashreplace")).encode()
    return ("text" if len(original) <= kept else TRUNCATED), text


def _is_json(data: bytes) -> bool:
    try:
        check_strict_json(data)
    except InvalidEvent:
        return False
    return True


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Dead letter as stored in the stream under number `sequence`. Fields of one from elsewhere may be empty."""

    sequence: int
    died_at: datetime
    subject: str
    data: Any
    num_delivered: int
    job: str
    error_class: str
    reason: str
    kind: str
    headers: Mapping[str, str]

    @property
    def payload(self) -> bytes:
        """Body to publish again: the original one, unless `kind` is `truncated`."""
        if self.kind != "json" and isinstance(self.data, str):
            return self.data.encode()
        return json.dumps(self.data, ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def original_headers(self) -> dict[str, str]:
        """Headers that came with the event, without the server's and ours."""
        return application_headers(self.headers)


def parse_dead_letter(sequence: int, stored_at: datetime, body: bytes, headers: Mapping[str, str]) -> DeadLetter:
    """Parse the dead letter stored under `sequence`. A body from elsewhere is kept as it is."""
    try:
        fields = json.loads(body)
        fields = fields if isinstance(fields, dict) and {"subject", "data"} <= fields.keys() else {"data": fields}
    except (ValueError, RecursionError):
        fields = {"data": body.decode(errors="backslashreplace")}
    subject, count = fields.get("subject"), fields.get("num_delivered")
    return DeadLetter(
        sequence=sequence,
        died_at=stored_at,
        subject=subject if isinstance(subject, str) else "",
        data=fields["data"],
        num_delivered=count if isinstance(count, int) else 0,
        job=headers.get(Header.JOB, ""),
        error_class=headers.get(Header.ERROR_CLASS, ""),
        reason=headers.get(Header.REASON, ""),
        kind=headers.get(Header.DATA, "json"),
        headers=dict(headers),
    )
