"""Context that a handler gets besides its event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from typing_extensions import TypeVar

from keda_jobs.domain.message import Message
from keda_jobs.runtime.cpu import Cpu
from keda_jobs.settings import JobSettings
from keda_jobs.storage import Bucket

S = TypeVar("S", bound=JobSettings, default=JobSettings)
R = TypeVar("R", default=None)


@dataclass(frozen=True, slots=True)
class Context(Generic[S, R]):
    """Context of one attempt at a message.

    `cpu` runs a function in a worker process. `resources` is what the job opened at start (see `event_job`).
    """

    settings: S
    message: Message
    cpu: Cpu
    resources: R
    bucket: Bucket | None = None

    @property
    def store(self) -> Bucket:
        """Bucket of the job's `StoreSettings`. Raises `TypeError` for a job without them."""
        if self.bucket is None:
            raise TypeError("no store: let the job's Settings inherit from StoreSettings too")
        return self.bucket
