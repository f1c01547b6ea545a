"""Reports of a pod on its long work, and cancellation of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field

from keda_jobs.errors import Permanent

_LONGEST_TEXT = 200

Amount = Annotated[float, Field(allow_inf_nan=False)]


class Cancelled(Permanent):
    """Somebody cancelled the message with `keda-jobs cancel`. Its handler is ended, and no retry follows."""


@dataclass(slots=True)
class Progress:
    """Last progress that a handler has reported on its message."""

    done: float | None = None
    total: float | None = None
    text: str = ""

    def say(self, done: float, total: float | None, text: str) -> None:
        """Replace what was said before. Raises `ValueError` for what is no finite number."""
        if not math.isfinite(done) or (total is not None and not math.isfinite(total)):
            raise ValueError(f"progress must be finite numbers, not {done} of {total}")
        self.done, self.total, self.text = float(done), None if total is None else float(total), text[:_LONGEST_TEXT]


class Report(BaseModel):
    """Report of a pod on the message that it works on. The last one says that its handler has ended."""

    pod: str
    attempt: int
    started_at: AwareDatetime
    done: Amount | None = None
    total: Amount | None = None
    text: str = ""
    ended: bool = False
