"""Context of a long job's handler."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic

from typing_extensions import TypeVar

from keda_jobs.domain.long_work import Progress
from keda_jobs.event.handler import Context
from keda_jobs.settings import JobSettings, LongSettings

S = TypeVar("S", bound=JobSettings, default=LongSettings)
R = TypeVar("R", default=None)


@dataclass(frozen=True, slots=True)
class LongContext(Context[S, R], Generic[S, R]):
    """Context of one attempt at a long message."""

    said: Progress = field(default_factory=Progress)

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Say how far the work is, for `keda-jobs status` and the log. It costs nothing, so call it often.

        Raises `ValueError` for what is no finite number.
        """
        self.said.say(done, total, text)
