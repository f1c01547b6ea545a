"""Names of backups, and the record on the NATS server of the last one.

The record is for the alert about backups that are too old: the exporter reads it, and needs no right to the place.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.subjects import BACKUP_COMPLETE, BACKUP_STARTED, BACKUP_STREAM
from keda_jobs.jetstream.api import ApiError, StreamMissing, request
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.publish import publish_with_retry

NEVER = datetime.fromtimestamp(0, UTC)
"""Time of the last backup where none was completed."""
_NAME = "%Y-%m-%dT%H-%M-%SZ"
_NO_MESSAGE = 10037


def backup_name(taken_at: datetime) -> str:
    """Return the name of a backup that begins now. Names sort by time."""
    return taken_at.astimezone(UTC).strftime(_NAME)


def taken_at(name: str) -> datetime | None:
    """Return when the backup of this name began, None for a name that is no backup's."""
    try:
        found = datetime.strptime(name, _NAME).replace(tzinfo=UTC)
    except ValueError:
        return None
    # `strptime` takes numbers without their zeros as well.
    return found if backup_name(found) == name else None


async def record_start(connection: NatsConnection) -> None:
    """Note that backups are taken. Raises `BrokerUnavailable`."""
    await _note(connection, BACKUP_STARTED, "")


async def record_complete(connection: NatsConnection, name: str) -> None:
    """Note that the backup `name` is complete. Raises `BrokerUnavailable`."""
    await _note(connection, BACKUP_COMPLETE, name)


async def read_last_backup(connection: NatsConnection) -> datetime | None:
    """Return when the last complete backup began, `NEVER` before the first one, None where nobody takes backups.

    Raises `BrokerUnavailable`.
    """
    if (complete := await _read(connection, BACKUP_COMPLETE)) is not None:
        return taken_at(complete) or NEVER
    return None if await _read(connection, BACKUP_STARTED) is None else NEVER


async def _note(connection: NatsConnection, subject: str, text: str) -> None:
    await publish_with_retry(connection, Outgoing(subject, text.encode(), f"{subject} {text}"))


async def _read(connection: NatsConnection, subject: str) -> str | None:
    """Return the message on `subject`, None where there is none or no such stream."""
    try:
        answer = await request(connection, f"STREAM.MSG.GET.{BACKUP_STREAM}", {"last_by_subj": subject})
    except StreamMissing:
        return None
    except ApiError as error:
        if error.code != _NO_MESSAGE:
            raise
        return None
    return base64.b64decode(answer["message"].get("data") or "").decode(errors="replace")
