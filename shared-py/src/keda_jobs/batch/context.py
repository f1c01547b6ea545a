"""Context that a handler gets besides its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from typing_extensions import TypeVar

from keda_jobs.runtime.cpu import Cpu
from keda_jobs.settings import BatchSettings

S = TypeVar("S", bound=BatchSettings, default=BatchSettings)
R = TypeVar("R", default=None)


@dataclass(frozen=True, slots=True)
class BatchContext(Generic[S, R]):
    """Context of one worker: its settings, CPU work outside the loop, and what the job opened (see `batch_job`)."""

    settings: S
    cpu: Cpu
    resources: R
