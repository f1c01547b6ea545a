"""Trial of a job on stored events: where its output goes, and what the command and the job's process exchange."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from keda_jobs.domain.message import Received

TRIALS = "trials/"
"""Prefix of the output of all trials. No job writes there otherwise."""

_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


def trial_prefix(name: str) -> str:
    """Return the prefix of the keys that the trial `name` writes. Raises `ValueError`."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a trial such as bigger-thumbnails: letters, digits, - and _")
    return f"{TRIALS}{name}/"


@dataclass(frozen=True, slots=True)
class TrialEvent:
    """Stored event for the process that tries it. An event that it returns has at most `max_bytes` too."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    sequence: int
    timestamp_ns: int
    max_bytes: int

    def encode(self) -> bytes:
        """Return the line that `decode` reads."""
        return _line(asdict(self) | {"data": base64.b64encode(self.data).decode()})

    @classmethod
    def decode(cls, line: bytes) -> Self:
        """Read a line. Raises `ValueError`, `TypeError`, `LookupError`."""
        fields = json.loads(line)
        return cls(**fields | {"data": base64.b64decode(fields["data"])})

    def received(self) -> Received:
        """Return the event as it was delivered first."""
        return Received(self.subject, self.data, self.headers, 1, self.sequence, self.timestamp_ns)


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """Outcome of one event: what the loop would do, why, and the subjects of the events that it would publish."""

    sequence: int
    outcome: str
    reason: str | None = None
    events: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Return the line that `decode` reads."""
        return _line(asdict(self))

    @classmethod
    def decode(cls, line: bytes) -> Self:
        """Read a line. Raises `ValueError`, `TypeError`, `LookupError`."""
        fields = json.loads(line)
        return cls(**fields | {"events": tuple(fields["events"])})


def _line(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"
